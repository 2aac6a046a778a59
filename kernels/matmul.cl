// matmul.cl - Y = X W^T for many tokens. W is in tiles of 16 rows, in the quantised blocks of its file.
#include "blocks.cl"
#include "tile.cl"

// y[token][y_offset + row] = W[row] . x[token]. at: y_stride and y_offset. Work-groups as in blocks.cl; the columns
// of a work-group are one tile.
kernel IN_VECTORS __attribute__((reqd_work_group_size(1, 1, 1)))
void matmul(global float *y, uint2 at, const global uchar *x, uint x_stride, const global uchar *w, window win,
            uint n_blocks)
{
	size_t block = block_of_tokens(), tile = get_group_id(1), first = block * EVN_BLOCK_TOKENS, row_bytes = ROW_BYTES(x_stride);
	float16 sums[EVN_BLOCK_TOKENS];
	if (block >= n_blocks)
		return;
	multiply_block(sums, x + first * row_bytes, row_bytes, STEP(w, win.x + tile * win.y), win.z);
	global float *out = y + first * at.x + at.y + tile * EVN_TILE_ROWS;
#pragma unroll
	for (uint t = 0; t < EVN_BLOCK_TOKENS; t++)
		vstore16(sums[t], 0, out + t * at.x);
}
