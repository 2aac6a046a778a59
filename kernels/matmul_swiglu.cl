// matmul_swiglu.cl - the gate and up products of a feed-forward network and their combination, for many tokens.
// Neither product goes through memory.
#include "blocks.cl"
#include "tile.cl"
#include GATE
#include STORE

// Tiles [0, n_tiles) of W are the gate and tiles [up, up + n_tiles) are up (Shazeer 2020), as in gated.cl:
//   y[token][row] = combine(W[row] . x, W[16 up + row] . x), and zeros after the last row, up to y_stride.
//
// gates: up and n_tiles. Work-groups as in blocks.cl; the columns of a work-group are 32 columns of y.
kernel IN_VECTORS __attribute__((reqd_work_group_size(1, 1, 1)))
void matmul_swiglu(global float *y, uint y_stride, const global uchar *x, uint x_stride, const global uchar *w, window win,
                   uint2 gates, uint n_blocks)
{
	size_t block = block_of_tokens(), first = block * EVN_BLOCK_TOKENS, row_bytes = ROW_BYTES(x_stride);
	uint columns = get_group_id(1), up = gates.x, n_tiles = gates.y;
	float16 sums[4][EVN_BLOCK_TOKENS]; // the two tiles of the gate, then the two of up
	if (block >= n_blocks)
		return;
	for (uint i = 0; i < 4 && 2 * columns < n_tiles; i++) {
		// if the number of tiles is odd, the last one has no partner
		uint tile = min(2 * columns + i % 2, n_tiles - 1) + i / 2 * up;
		multiply_block(sums[i], x + first * row_bytes, row_bytes, STEP(w, win.x + (size_t)tile * win.y), win.z);
	}
	for (uint t = 0; t < EVN_BLOCK_TOKENS; t++) {
		float16 lo = 0.0f, hi = 0.0f;
		if (2 * columns < n_tiles)
			lo = combine(sums[0][t], sums[2][t]);
		if (2 * columns + 1 < n_tiles)
			hi = combine(sums[1][t], sums[3][t]);
		store_block(y, first + t, y_stride, columns, lo, hi);
	}
}
