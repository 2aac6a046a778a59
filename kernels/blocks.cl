// blocks.cl - the product of a tile with blocks of EVN_BLOCK_TOKENS rows of activations, and the order of the blocks.
// Parameters: BLOCK, WEIGHTS.
//
// Work-groups are (block of a run, columns of y, run). The few blocks of a run use the same weights one after the
// other, so the weights come from memory once for the run. If every block read them, the cores of a larger CPU would
// wait for its memory.
#include "common.cl"
#include "tile.cl"
#include BLOCK

INLINE size_t block_of_tokens(void) { return get_group_id(2) * get_num_groups(0) + get_group_id(0); }

// sums[t] = the first n_steps of the tile times row t of x.
INLINE void multiply_block(float16 *sums, const global uchar *x, size_t row_bytes, const global uchar *tile, uint n_steps)
{
	float16 acc[EVN_BLOCK_TOKENS];
#pragma unroll
	for (uint t = 0; t < EVN_BLOCK_TOKENS; t++)
		acc[t] = 0.0f;
	add_steps(acc, x, row_bytes, tile, n_steps);
#pragma unroll
	for (uint t = 0; t < EVN_BLOCK_TOKENS; t++)
		sums[t] = acc[t];
}
