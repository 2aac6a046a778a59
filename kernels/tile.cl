// tile.cl - columns of a weight tile in any format. In quant/ a float format defines tile_quant. An integer format
// defines ZERO and tile_word(b, g, i): columns 4 i .. 4 i + 3 of group g as unsigned bytes of a word, one lane for
// each of 16 rows. A weight is scale * (byte - ZERO) + offset.
//
// Parameters:
//   WEIGHTS  the format
//   TILES    the tiles of a work-item that multiplies row by row: they share the loads of x, and their sums hide each
//            other's latency
//   SLICES   the work-items that share their tiles; each takes every SLICES-th step; a power of two
#include "common.cl"
#include WEIGHTS

#ifndef TILES
#define TILES 1
#endif
#ifndef SLICES
#define SLICES 1
#endif

// A window of weights: its first step in w, the steps from one tile to the next, the used steps of each tile, the
// number of tiles.
typedef uint4 window;
#define WINDOW_BEGIN(w, win) STEP(w, (win).x)

// Step `s` of the tiles at w.
#define STEP(w, s) ((w) + (size_t)(s) * (STEP_BYTES * EVN_TILE_ROWS))

#ifdef ZERO

// Column k of group g, without scale and offset.
INLINE float16 tile_quant(const global uchar *b, uint g, uint k)
{
	uint16 byte = tile_word(b, g, k / 4) >> (uint16)(k % 4 * 8) & (uint16)255;
	return convert_float16(as_int16(byte) - (int16)ZERO);
}

// The weight of column k of group g, by tile_scale of the group.
INLINE float16 tile_weight(const global uchar *b, uint g, uint k, float16 scale, float16 offset)
{
	return fma(scale, tile_quant(b, g, k), offset);
}
#else

// A float format has no scale and no offset. A compiler may not remove fma(1, w, 0), because it turns -0 into 0; the row
// kernel would then compute two multiply-adds for each weight instead of one.
INLINE void tile_scale(const global uchar *b, uint g, float16 *scale, float16 *offset) { *scale = 1.0f; }

INLINE float16 tile_weight(const global uchar *b, uint g, uint k, float16 scale, float16 offset)
{
	return tile_quant(b, g, k);
}
#endif
