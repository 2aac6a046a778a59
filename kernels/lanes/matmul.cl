// matmul.cl - Y = X W^T for many tokens, with scalars: a work-group has 64 rows of W and 64 tokens. W is in tiles of 16
// rows, in the quantised blocks of its file.
#include "lanes/blocks.cl"

// y[token][y_offset + row] = W[row] . x[token] for n_tok tokens. at: y_stride and y_offset. Work-group (64 tokens, four
// tiles).
kernel IN_BLOCKS
void matmul(global float *y, uint2 at, const global uchar *x, uint x_stride, const global uchar *w, window win, uint n_tok)
{
	local block_memory m;
	const uint first = get_group_id(0) * BLOCK_TOKENS, tile = get_group_id(1) * BLOCK_TILES;
	const uint held = min(tile + DECODED_TILE, win.w - 1); // beyond the last row an item decodes another row again
	multiply_block(&m, STEP(w, win.x + (size_t)held * win.y), x, ROW_BYTES(x_stride), first, n_tok, win.z);
	const uint row = ITEM_ROW, last = tile + row / EVN_TILE_ROWS;
#pragma unroll
	for (uint t = 0; t < ITEM_TOKENS; t++) {
		const uint token = first + ITEM_TOKEN + t;
		// volatile: as in store_f32.cl
		if (token < n_tok && last < win.w)
			*(volatile global float4 *)(y + (size_t)token * at.x + at.y + tile * EVN_TILE_ROWS + row) =
				m.sums[ITEM_TOKEN + t][row / 4];
	}
}
