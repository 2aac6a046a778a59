// row_q8.cl - the products of a work-item's rows with TOKENS rows of 8-bit activations, by integer dot products of four
// bytes. Parameters: those of lanes/tiles.cl and of dot4.cl.
#include "lanes/width.cl"
#include "group_q8.cl"

// The groups of a unit share words, which are loaded once if the loop is unrolled. With many sums this would need more
// registers than there are.
#if TOKENS > 1 || (TILES > 1 && UNIT_GROUPS > 1)
#define UNROLL_UNIT _Pragma("unroll 1")
#else
#define UNROLL_UNIT _Pragma("unroll")
#endif

// acc[i][t] += groups [first, first + UNIT_GROUPS) of step s of the tile at blocks[i] times row t of x. Groups are added
// in this order whatever TOKENS is, so a row has the same bits alone and beside others.
INLINE void multiply_unit(float acc[TILES][TOKENS], const global uchar *const *blocks, const global uchar *x, size_t row_bytes,
                          uint s, uint first)
{
	UNROLL_UNIT
	for (uint g = first; g < first + UNIT_GROUPS; g++) {
#pragma unroll
		for (uint i = 0; i < TILES; i++) {
			const global uchar *b = STEP(blocks[i], s);
			uint w[GROUP_LEN / 4];
			float scale, offset;
			group_scale(b, g, &scale, &offset);
#pragma unroll
			for (uint k = 0; k < GROUP_LEN / 4; k++)
				w[k] = tile_word(b, g, k);
#pragma unroll
			for (uint t = 0; t < TOKENS; t++) {
				q8_group xs = load_group(x + t * row_bytes, s, g);
				int dot = begin_group(xs);
#pragma unroll
				for (uint k = 0; k < GROUP_LEN / 4; k++)
					dot = dot4(dot, w[k], xs.words[k]);
				acc[i][t] = end_group(acc[i][t], dot, scale, offset, xs);
			}
		}
	}
}
