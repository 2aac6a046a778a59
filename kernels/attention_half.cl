// attention_half.cl - attention of one token with the products around it in one launch, for devices of one compute unit:
// there they follow each other anyway, and a launch costs as much as a good part of a product. Parameters:
// those of attend.cl, ATTENTION_ITEMS 1, and of tiles.cl.
#include "attend.cl"
#include "tiles.cl"

// qkv = W_in x; attended (stride columns, f32) = attention over it, k and v appended; stored = attended in the form that
// the second product reads; y = W_out stored. The matrices' windows as in matvec. One work-item.
kernel IN_VECTORS __attribute__((reqd_work_group_size(1, 1, 1)))
void attention_half(ATTENTION_PARAMETERS, global float *attended, uint out_offset, uint in_tiles, uint out_tiles,
                    global float *y, const global uchar *x, const global uchar *w_in, uint in_begin, uint in_tile_steps,
                    uint in_steps, global float *stored, uint out_stride, const global uchar *w_out, uint out_begin,
                    uint out_tile_steps, uint out_steps)
{
	const attention_input a = ATTENTION_INPUT;
	const global uchar *in = STEP(w_in, in_begin), *out = STEP(w_out, out_begin);
	for (uint group = 0; group * TILES < in_tiles; group++)
		multiply_rows(qkv, x, in, in_tile_steps, in_steps, in_tiles, group, 0);
	for (uint kv = 0; kv < n_kv; kv++) {
		uint begin = own_begin(kv, first_head, first_kv), n_own = own_end(kv, first_head, first_kv, n_heads) - begin;
		append(&a, kv, 0);
		for (uint first = 0; first < n_own; first += QUERIES) {
			running state[QUERIES];
			attend(state, &a, kv, begin, n_own, first, 0, 1, 0, 0);
			store_attended(state, begin, n_own, first, 1, n_heads, attended, out_stride, out_offset);
		}
	}
	for (uint b = 0; b < out_stride / 32; b++)
		store_block(stored, 0, out_stride, b, vload16(2 * b, attended), vload16(2 * b + 1, attended));
	for (uint group = 0; group * TILES < out_tiles; group++)
		multiply_rows(y, (const global uchar *)stored, out, out_tile_steps, out_steps, out_tiles, group, 0);
}
