// blocks.cl - the products of four tiles of weights with 64 rows of activations, with scalars. Columns of both go through
// local memory, so that each is read and decoded once for all products of the work-group. An item has the sums of 4 rows
// and 8 tokens. Parameters: BLOCK, those of tile.cl.
#include "lanes/width.cl"
#ifndef BLOCK
#define BLOCK "lanes/block_f32.cl"
#endif
#include "lanes/block_shape.cl"
#include BLOCK

typedef struct {
	float4 sums[BLOCK_TOKENS][BLOCK_ROWS / 4];
	staged columns; // the columns that are multiplied at present
} block_memory;

// m->sums = the first n_steps of four tiles times rows [first, first + BLOCK_TOKENS) of x, of n_tok in all. tile: the one
// that this item decodes. The order of summation is that of tiles.cl: slices of units in turn, and the slices in their
// order. So a row has the same bits alone and in a block.
INLINE void multiply_block(local block_memory *m, const global uchar *tile, const global uchar *x, size_t row_bytes, uint first,
                           uint n_tok, uint n_steps)
{
	x += min(first + STAGED_TOKEN, n_tok - 1) * row_bytes; // beyond the last token an item stages another one again
#pragma unroll
	for (uint t = 0; t < ITEM_TOKENS; t++)
		m->sums[ITEM_TOKEN + t][ITEM_ROW / 4] = 0.0f;
#pragma unroll 1
	for (uint slice = 0; slice < SLICES; slice++) {
		float acc[ITEM_TOKENS][ITEM_ROWS];
#pragma unroll
		for (uint t = 0; t < ITEM_TOKENS; t++)
#pragma unroll
			for (uint r = 0; r < ITEM_ROWS; r++)
				acc[t][r] = 0.0f;
		for (uint u = slice; u < n_steps * UNITS; u += SLICES)
#pragma unroll 1
			for (uint g = 0; g < UNIT_GROUPS; g++)
				multiply_staged(acc, &m->columns, tile, x, u / UNITS, u % UNITS * UNIT_GROUPS + g);
#pragma unroll
		for (uint t = 0; t < ITEM_TOKENS; t++)
			m->sums[ITEM_TOKEN + t][ITEM_ROW / 4] += (float4)(acc[t][0], acc[t][1], acc[t][2], acc[t][3]);
	}
	barrier(CLK_LOCAL_MEM_FENCE);
}
