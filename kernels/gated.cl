// gated.cl - 32 columns of a gated feed-forward network: the gate and up products and their combination. Parameters:
// GATE, STORE, those of tiles.cl.
#include "common.cl"
#define TILES 4 // two of gate, two of up
#include "tiles.cl"
#include GATE
#include STORE

// Tiles [0, n_tiles) of W are the gate and tiles [up, up + n_tiles) are up (Shazeer 2020). For rows 32 block .. 32
// block + 31 of the gate:
//   y[token][row] = combine(W[row] . x, W[16 up + row] . x), and zeros after the last row.
//
// A tile of w has tile_steps steps.
INLINE void gate_block(global float *y, size_t token, uint y_stride, const global uchar *x, const global uchar *w, uint tile_steps,
                       uint n_steps, uint up, uint n_tiles, uint block)
{
	uint tile = 2 * block;
	float16 acc[TILES], lo = 0.0f, hi = 0.0f;
	if (tile < n_tiles) {
		uint next = min(tile + 1, n_tiles - 1); // if the number of tiles is odd, the last tile has no partner
		uint tiles[TILES] = {tile, next, up + tile, up + next};
		multiply_tiles(acc, tiles, x, w, tile_steps, n_steps, 2);
		lo = combine(acc[0], acc[2]);
		if (tile + 1 < n_tiles)
			hi = combine(acc[1], acc[3]);
	}
	store_block(y, token, y_stride, block, lo, hi);
}
