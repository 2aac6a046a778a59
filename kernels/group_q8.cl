// group_q8.cl - a group of a row of 8-bit activations (blocks as in q8.cl), and its products with weights.
// Parameters: those of tile.cl for an integer format, and those of dot4.cl.
#include "dot4.cl"
#include "q8.cl"
#include "tile.cl"

#define ROW_BYTES(columns) ((columns) / 32 * EVN_Q8_BYTES)
#define STEP_GROUPS (STEP_LEN / GROUP_LEN)

typedef struct {
	const global uint *words; // each has four bytes
	float scale, scaled_sum;
	int sum; // the sum of the bytes; only in groups of 32
} q8_group;

// Loads group g of step s.
INLINE q8_group load_group(const global uchar *row, uint s, uint g)
{
	uint column = s * STEP_LEN + g * GROUP_LEN;
	const global uchar *block = row + column / 32 * EVN_Q8_BYTES;
	q8_group x = {(const global uint *)(block + column % 32), q8_scale(block)};
#if GROUP_LEN == 32
	x.sum = q8_sum(block);
	x.scaled_sum = q8_scaled_sum(block);
#else
	x.scaled_sum = q8_scaled_half_sum(block, column / 16 % 2);
#endif
	return x;
}

// How ZERO is subtracted. In groups of 32 the dot products begin at minus its contribution, so they stay exact. In
// groups of 16 this would cost as much as the products themselves, so the offset contains it.
#if GROUP_LEN == 32
INLINE int16 begin_group(q8_group x) { return (int16)(-DOT_ZERO * x.sum); }
#else
INLINE int16 begin_group(q8_group x) { return 0; }
#endif

INLINE void group_scale(const global uchar *b, uint g, float16 *scale, float16 *offset)
{
	tile_scale(b, g, scale, offset);
#if GROUP_LEN == 16 && !defined(HAS_OFFSET)
	*offset = *scale * (float)-DOT_ZERO;
#endif
}

// acc + a group's dot products times its scales. Only these operations round.
INLINE float16 end_group(float16 acc, int16 dot, float16 scale, float16 offset, q8_group x)
{
	acc = fma(scale * x.scale, convert_float16(dot), acc);
#if GROUP_LEN == 16 || defined(HAS_OFFSET)
	acc = fma(offset, (float16)x.scaled_sum, acc);
#endif
	return acc;
}
