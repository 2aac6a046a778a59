// matmul_experts.cl - matmul.cl for blocks of rows that each have an expert, with vectors. W holds the matrices of all experts.
#include "blocks.cl"
#include "tile.cl"

// y[t][y_offset + row] = W[experts[t / EVN_BLOCK_TOKENS]][row] . x[t]. steps: from one expert to the next. Work-groups as in
// blocks.cl; the columns of a work-group are one tile.
kernel IN_VECTORS __attribute__((reqd_work_group_size(1, 1, 1)))
void matmul_experts(global float *y, uint2 at, const global uchar *x, uint x_stride, const global uchar *w, window win, uint steps,
                    const global uint *experts, uint n_blocks)
{
	size_t block = block_of_tokens(), tile = get_group_id(1), first = block * EVN_BLOCK_TOKENS, row_bytes = ROW_BYTES(x_stride);
	float16 sums[EVN_BLOCK_TOKENS];
	if (block >= n_blocks || experts[block] == EVN_NO_EXPERT)
		return;
	multiply_block(sums, x + first * row_bytes, row_bytes, STEP(w, win.x + experts[block] * steps + tile * win.y), win.z);
	global float *out = y + first * at.x + at.y + tile * EVN_TILE_ROWS;
#pragma unroll
	for (uint t = 0; t < EVN_BLOCK_TOKENS; t++)
		vstore16(sums[t], 0, out + t * at.x);
}
