// tiles.cl - the products of a work-group's tiles with rows of activations, with scalars: an item has one row of each of
// its tiles, so that 16 items side by side read 64 bytes of a word. Parameters: ROW, those of tile.cl, and
//   TOKENS  the rows of activations; a weight is decoded once for all of them
//   ABREAST  the tiles that lie side by side in the group
#include "lanes/width.cl"
#ifndef ROW
#define ROW "lanes/row_f32.cl"
#endif
#ifndef ABREAST
#define ABREAST 1
#endif
#include "lanes/units.cl"
#include ROW

#define ROWS (ABREAST * EVN_TILE_ROWS) // of y, side by side
#define ITEMS (ROWS * SLICES)
#define IN_LANES __attribute__((reqd_work_group_size(ITEMS, 1, 1)))

// The sums of the slices: for each tile of an item, row of activations and row of y.
typedef float slice_sums[TILES][TOKENS][ROWS];

// Multiplies the first n_steps of the item's tiles, which begin at blocks, with TOKENS rows of x, row_bytes apart. The
// items of the group find the sums of all slices in part.
INLINE void multiply_tiles(local slice_sums *part, const global uchar *const *blocks, const global uchar *x, size_t row_bytes,
                           uint n_steps)
{
	const uint slice = get_local_id(0) / ROWS, row = get_local_id(0) % ROWS;
	float acc[TILES][TOKENS];
#pragma unroll
	for (uint i = 0; i < TILES; i++)
#pragma unroll
		for (uint t = 0; t < TOKENS; t++)
			acc[i][t] = 0.0f;
	for (uint u = slice; u < n_steps * UNITS; u += SLICES)
		multiply_unit(acc, blocks, x, row_bytes, u / UNITS, u % UNITS * UNIT_GROUPS);
#pragma unroll
	for (uint i = 0; i < TILES; i++)
#pragma unroll
		for (uint t = 0; t < TOKENS; t++)
			part[slice][i][t][row] = acc[i][t];
	barrier(CLK_LOCAL_MEM_FENCE);
}

// The sum of all slices, in their order.
INLINE float add_slices(const local slice_sums *part, uint tile, uint token, uint row)
{
	float sum = 0.0f;
#pragma unroll
	for (uint s = 0; s < SLICES; s++)
		sum += part[s][tile][token][row];
	return sum;
}
