// tile.cl - columns of a weight tile in any format. In quant/ a float format defines tile_quant. An integer format
// defines ZERO and tile_word(b, g, i): columns 4 i .. 4 i + 3 of group g as unsigned bytes of a word, one word for each
// row that an item holds (LANES). A weight is scale * (byte - ZERO) + offset. If groups share words, the format defines
// UNIT_GROUPS, the number of groups that do. An item with scalars takes them together and loads a word once.
//
// Parameters:
//   WEIGHTS  the format
//   TILES    the tiles of a work-item that multiplies row by row: they share the loads of x, and their sums hide each
//            other's latency
#include "common.cl"
#include WEIGHTS

#ifndef TILES
#define TILES 1
#endif
#ifndef UNIT_GROUPS
#define UNIT_GROUPS 1
#endif
#define STEP_GROUPS (STEP_LEN / GROUP_LEN)

// A window of weights: its first step in w, the steps from one tile to the next, the used steps of each tile, the
// number of tiles.
typedef uint4 window;
#define WINDOW_BEGIN(w, win) STEP(w, (win).x)

// Step `s` of the tiles at w.
#define STEP(w, s) ((w) + (size_t)(s) * (STEP_BYTES * EVN_TILE_ROWS))

#ifdef ZERO

// Column k of group g, without scale and offset. GPUs convert a byte of a word in one instruction.
INLINE floats tile_quant(const global uchar *b, uint g, uint k)
{
	words byte = tile_word(b, g, k / 4) >> (words)(k % 4 * 8) & (words)255;
#if LANES == 16
	return to_floats(as_ints(byte) - (ints)ZERO);
#else
	return to_floats(byte) - (float)ZERO;
#endif
}

// The weight of column k of group g, by tile_scale of the group.
INLINE floats tile_weight(const global uchar *b, uint g, uint k, floats scale, floats offset)
{
	return fma(scale, tile_quant(b, g, k), offset);
}
#else

// A float format has no scale and no offset. A compiler may not remove fma(1, w, 0), because it turns -0 into 0; the row
// kernel would then compute two multiply-adds for each weight instead of one.
INLINE void tile_scale(const global uchar *b, uint g, floats *scale, floats *offset) { *scale = 1.0f; }

INLINE floats tile_weight(const global uchar *b, uint g, uint k, floats scale, floats offset)
{
	return tile_quant(b, g, k);
}
#endif
