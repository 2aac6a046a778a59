// look_up.cl - values that are not evenly spaced: a nibble is the index of one of 16 bytes. Parameters: VALUES_0, VALUES_4,
// VALUES_8, VALUES_12, four bytes each, the first one lowest.
#include "common.cl"

#ifndef VALUES_0
#define VALUES_0 0x03020100u
#define VALUES_4 0x07060504u
#define VALUES_8 0x0b0a0908u
#define VALUES_12 0x0f0e0d0cu
#endif

// The four nibbles, one in each byte, replaced by their values. x86 looks up 16 bytes in one instruction; the
// compilers of CPU drivers do not find it.
#if defined(DOT_VNNI512)
INLINE uint16 look_up(uint16 nibbles)
{
	const uint16 table = (uint16)(VALUES_0, VALUES_4, VALUES_8, VALUES_12, VALUES_0, VALUES_4,
	                              VALUES_8, VALUES_12, VALUES_0, VALUES_4, VALUES_8, VALUES_12,
	                              VALUES_0, VALUES_4, VALUES_8, VALUES_12);
	uint16 values;
	__asm__("vpshufb %2, %1, %0" : "=v"(values) : "v"(table), "v"(nibbles));
	return values;
}
#elif defined(DOT_VNNI256) || defined(DOT_AVX2)
INLINE uint8 look_up_eight(uint8 nibbles)
{
	const uint8 table = (uint8)(VALUES_0, VALUES_4, VALUES_8, VALUES_12, VALUES_0, VALUES_4,
	                            VALUES_8, VALUES_12);
	uint8 values;
	__asm__("vpshufb %2, %1, %0" : "=x"(values) : "x"(table), "x"(nibbles));
	return values;
}

INLINE uint16 look_up(uint16 nibbles) { return (uint16)(look_up_eight(nibbles.lo), look_up_eight(nibbles.hi)); }
#else
// Bytes of ones where bit `at` of the byte is set.
INLINE words byte_mask(words v, uint at)
{
	words bit = v >> (words)at & (words)0x01010101u;
	return (bit << (words)8) - bit;
}

// Value i of four in each byte.
#define VALUE(four, i) ((words)(((four) >> 8 * (i) & 255u) * 0x01010101u))
#define PAIR(four, i) bitselect(VALUE(four, i), VALUE(four, i + 1), m0)
#define FOUR(four) bitselect(PAIR(four, 0), PAIR(four, 2), m1)

// Selects by one bit of the nibble after the other: 8 pairs, 4 pairs, 2 pairs, 1 pair.
INLINE words look_up(words nibbles)
{
	words m0 = byte_mask(nibbles, 0), m1 = byte_mask(nibbles, 1), m2 = byte_mask(nibbles, 2), m3 = byte_mask(nibbles, 3);
	words low = bitselect(FOUR(VALUES_0), FOUR(VALUES_4), m2);
	words high = bitselect(FOUR(VALUES_8), FOUR(VALUES_12), m2);
	return bitselect(low, high, m3);
}
#endif
