// tiles.cl - the product of several tiles with one row of activations. Parameters: ROW, those of tile.cl.
#include "tile.cl"
#include ROW

// Multiplies the first n_steps of each tile. A tile has tile_steps steps. The next tiles to be multiplied are `next`
// tiles after these.
INLINE void multiply_tiles(float16 *acc, const uint *tiles, const global uchar *row, const global uchar *w, uint tile_steps,
                           uint n_steps, uint next)
{
	const global uchar *blocks[TILES];
#pragma unroll
	for (uint i = 0; i < TILES; i++) {
		blocks[i] = STEP(w, (size_t)tiles[i] * tile_steps);
		acc[i] = 0.0f;
	}
	multiply_row(acc, blocks, row, n_steps, next * tile_steps);
}

// y[row] = W[row] . x for group number `group` of TILES tiles, of n_tiles in all. x has n_steps * STEP_LEN columns. A
// tile of w has tile_steps steps.
INLINE void multiply_rows(global float *y, const global uchar *x, const global uchar *w, uint tile_steps, uint n_steps,
                          uint n_tiles, uint group)
{
	uint tiles[TILES];
	float16 acc[TILES];
#pragma unroll
	for (uint i = 0; i < TILES; i++)
		tiles[i] = min(group * TILES + i, n_tiles - 1); // the last group may compute the last tile several times
	multiply_tiles(acc, tiles, x, w, tile_steps, n_steps, TILES);
#pragma unroll
	for (uint i = 0; i < TILES; i++)
		vstore16(acc[i], 0, y + tiles[i] * EVN_TILE_ROWS);
}
