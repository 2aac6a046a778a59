// group_q8.cl - a group of a row of 8-bit activations (blocks as in q8.cl), and its products with weights.
// Parameters: those of tile.cl for an integer format, and those of dot4.cl.
#include "dot4.cl"
#include "q8.cl"
#include "tile.cl"

#define ROW_BYTES(columns) ((columns) / 32 * Q8_BYTES)

// A group's words have four bytes each. Items with vectors broadcast a word from memory. The items of a GPU read the same
// words, 16 bytes at once, into registers.
typedef struct {
#if LANES == 16
	const global uint *words;
#else
	uint words[GROUP_LEN / 4];
#endif
	float scale, scaled_sum;
	int sum; // the sum of the bytes; only in groups of 32
} q8_group;

// The words of group g of step s.
INLINE const global uchar *group_words(const global uchar *row, uint s, uint g)
{
	const uint column = s * STEP_LEN + g * GROUP_LEN;
	return row + column / 32 * Q8_BYTES + column % 32;
}

// Loads group g of step s.
INLINE q8_group load_group(const global uchar *row, uint s, uint g)
{
	uint column = s * STEP_LEN + g * GROUP_LEN;
	const global uchar *block = row + column / 32 * Q8_BYTES;
	q8_group x;
#if LANES == 16
	x.words = (const global uint *)group_words(row, s, g);
#else
#pragma unroll
	for (uint i = 0; i < GROUP_LEN / 16; i++) {
		uint4 four = ((const global uint4 *)group_words(row, s, g))[i];
		x.words[4 * i] = four.x;
		x.words[4 * i + 1] = four.y;
		x.words[4 * i + 2] = four.z;
		x.words[4 * i + 3] = four.w;
	}
#endif
	x.scale = q8_scale(block);
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
INLINE ints begin_group(q8_group x) { return (ints)(-DOT_ZERO * x.sum); }
#else
INLINE ints begin_group(q8_group x) { return 0; }
#endif

INLINE void group_scale(const global uchar *b, uint g, floats *scale, floats *offset)
{
	tile_scale(b, g, scale, offset);
#if GROUP_LEN == 16 && !defined(HAS_OFFSET)
	*offset = *scale * (float)-DOT_ZERO;
#endif
}

// acc + a group's dot products times its scales, and its offset. Only these operations round.
INLINE floats add_dot(floats acc, ints dot, floats scale, q8_group x) { return fma(scale * x.scale, to_floats(dot), acc); }

INLINE floats add_offset(floats acc, floats offset, q8_group x)
{
#if GROUP_LEN == 16 || defined(HAS_OFFSET)
	acc = fma(offset, (floats)x.scaled_sum, acc);
#endif
	return acc;
}

INLINE floats end_group(floats acc, ints dot, floats scale, floats offset, q8_group x)
{
	return add_offset(add_dot(acc, dot, scale, x), offset, x);
}
