// blocks.cl - the products of four tiles of weights with 64 rows of activations, with scalars. Columns of both go through
// local memory, so that each is read and decoded once for all products of the work-group. An item has the sums of 4 rows
// and 8 tokens. Parameters: BLOCK, those of tile.cl.
#include "lanes/width.cl"
#ifndef BLOCK
#define BLOCK "lanes/block_f32.cl"
#endif
#include "lanes/units.cl"

#define BLOCK_ROWS EVN_LANE_BLOCK_ROWS
#define BLOCK_TILES (BLOCK_ROWS / EVN_TILE_ROWS)
#define BLOCK_TOKENS EVN_LANE_BLOCK_TOKENS
#define ITEM_ROWS 4
#define ITEM_TOKENS 8
#define BLOCK_ITEMS EVN_LANE_ITEMS // BLOCK_ROWS * BLOCK_TOKENS / (ITEM_ROWS * ITEM_TOKENS)
#define IN_BLOCKS __attribute__((reqd_work_group_size(BLOCK_ITEMS, 1, 1)))
// The first row and token of an item's sums.
#define ITEM ((uint)get_local_id(0))
#define ITEM_ROW (ITEM % (BLOCK_ROWS / ITEM_ROWS) * ITEM_ROWS)
#define ITEM_TOKEN (ITEM / (BLOCK_ROWS / ITEM_ROWS) * ITEM_TOKENS)
// The tile of the block of which an item decodes row TILE_ROW. Two items decode a row, each half of its columns.
#define DECODED_TILE (ITEM / (2 * EVN_TILE_ROWS))
#define DECODED_HALF (ITEM / EVN_TILE_ROWS % 2)
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
