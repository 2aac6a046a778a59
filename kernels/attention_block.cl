// attention_block.cl - attention of one token and the products before and after it in one launch, for devices with
// one compute unit. Such a device runs them one after the other anyway, and a launch costs as much as a large part of
// a product. Parameters: those of attend.cl, and those of tiles.cl.
#include "attend.cl"
#include "tiles.cl"

// qkv = W_in x. attended (stride columns, f32) = attention over qkv; k and v are appended. stored = attended in the
// format that the second product reads. y = W_out stored. The windows of the matrices are those of matvec. at: stride
// and offset of attended. One work-item.
kernel IN_VECTORS __attribute__((reqd_work_group_size(1, 1, 1)))
void attention_block(ATTENTION_PARAMETERS, global float *attended, uint2 at, global float *y, const global uchar *x,
                     const global uchar *w_in, window in, global float *stored, const global uchar *w_out, window out)
{
	const attention_input a = ATTENTION_INPUT;
	const row_span s = load_span(spans, 0);
	uint n_kv = (a.skip + a.n_heads + GROUP - 1) / GROUP;
	for (uint group = 0; group * TILES < in.w; group++)
		multiply_rows(qkv, x, WINDOW_BEGIN(w_in, in), in.y, in.z, in.w, group);
	for (uint kv = 0; kv < n_kv; kv++) {
		query_block b = {kv, own_begin(&a, kv), 0, 0};
		b.n_own = own_end(&a, kv) - b.begin;
		append(&a, &s, kv, 0);
		for (; b.first < b.n_own; b.first += QUERIES) {
			running state[QUERIES];
			attend(state, &a, &s, b, 0, 0);
			store_attended(state, &a, &s, b, attended, at.x, at.y);
		}
	}
	for (uint b = 0; b < at.x / 32; b++)
		store_block(stored, 0, at.x, b, vload16(2 * b, attended), vload16(2 * b + 1, attended));
	for (uint group = 0; group * TILES < out.w; group++)
		multiply_rows(y, (const global uchar *)stored, WINDOW_BEGIN(w_out, out), out.y, out.z, out.w, group);
}
