// values_iq4.cl - what IQ4_NL and IQ4_XS share: a nibble is the index of one of 16 values from -127 to 113, which are
// closer together near zero.
#include "common.cl"

#define ZERO 128

// The four nibbles, one in each byte, replaced by their values + ZERO. x86 looks up 16 bytes in one instruction; the
// compilers of CPU drivers do not find it.
#if defined(DOT_VNNI512)
INLINE uint16 look_up(uint16 nibbles)
{
	const uint16 table = (uint16)(0x3f2d1801u, 0x766a5d4fu, 0xa6998d81u, 0xf1d9c5b5u, 0x3f2d1801u, 0x766a5d4fu,
	                              0xa6998d81u, 0xf1d9c5b5u, 0x3f2d1801u, 0x766a5d4fu, 0xa6998d81u, 0xf1d9c5b5u,
	                              0x3f2d1801u, 0x766a5d4fu, 0xa6998d81u, 0xf1d9c5b5u);
	uint16 values;
	__asm__("vpshufb %2, %1, %0" : "=v"(values) : "v"(table), "v"(nibbles));
	return values;
}
#elif defined(DOT_VNNI256) || defined(DOT_AVX2)
INLINE uint8 look_up_eight(uint8 nibbles)
{
	const uint8 table = (uint8)(0x3f2d1801u, 0x766a5d4fu, 0xa6998d81u, 0xf1d9c5b5u, 0x3f2d1801u, 0x766a5d4fu,
	                            0xa6998d81u, 0xf1d9c5b5u);
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

#define BYTES(b) ((words)((b) * 0x01010101u))

// Selects by one bit of the nibble after the other: 8 pairs, 4 pairs, 2 pairs, 1 pair.
INLINE words look_up(words nibbles)
{
	words m0 = byte_mask(nibbles, 0), m1 = byte_mask(nibbles, 1), m2 = byte_mask(nibbles, 2), m3 = byte_mask(nibbles, 3);
	words v0 = bitselect(BYTES(1u), BYTES(24u), m0), v2 = bitselect(BYTES(45u), BYTES(63u), m0);
	words v4 = bitselect(BYTES(79u), BYTES(93u), m0), v6 = bitselect(BYTES(106u), BYTES(118u), m0);
	words v8 = bitselect(BYTES(129u), BYTES(141u), m0), v10 = bitselect(BYTES(153u), BYTES(166u), m0);
	words v12 = bitselect(BYTES(181u), BYTES(197u), m0), v14 = bitselect(BYTES(217u), BYTES(241u), m0);
	words low = bitselect(bitselect(v0, v2, m1), bitselect(v4, v6, m1), m2);
	words high = bitselect(bitselect(v8, v10, m1), bitselect(v12, v14, m1), m2);
	return bitselect(low, high, m3);
}
#endif
