// matmul_swiglu.cl - the gate and up products of a feed-forward network and their combination for many tokens in one
// launch, with scalars. Parameters: GATE, STORE, those of lanes/blocks.cl.
#include "lanes/blocks.cl"
#include GATE
#include STORE

#define GATED_ROWS (BLOCK_ROWS / 2) // two tiles of gate, and the same two of up

// y[token] from x[token] for n_tok tokens, up to y_stride; gates as in lanes/matvec_swiglu.cl. Work-group (64 tokens, 32
// columns of y).
kernel IN_BLOCKS
void matmul_swiglu(global float *y, uint y_stride, const global uchar *x, uint x_stride, const global uchar *w, window win,
                   uint2 gates, uint n_tok)
{
	local block_memory m;
	const uint first = get_group_id(0) * BLOCK_TOKENS, column = ITEM % GATED_ROWS;
	const uint held = min(2 * (uint)get_group_id(1) + DECODED_TILE % 2, gates.y - 1) + DECODED_TILE / 2 * gates.x;
	multiply_block(&m, STEP(w, win.x + (size_t)held * win.y), x, ROW_BYTES(x_stride), first, n_tok, win.z);
	const uint row = get_group_id(1) * GATED_ROWS + column;
	local float4 *const stored = (local float4 *)&m.columns; // their products are there
	for (uint t = ITEM / GATED_ROWS; t < BLOCK_TOKENS; t += BLOCK_ITEMS / GATED_ROWS) {
		const local float *sums = (const local float *)m.sums[t];
		float v = 0.0f;
		if (row < gates.y * EVN_TILE_ROWS)
			v = combine(sums[column], sums[GATED_ROWS + column]);
		store_lane(y, first + t, y_stride, first + t < n_tok ? row : y_stride, v, stored);
	}
}
