// mxfp4.cl - MXFP4: blocks of 32. Exponent of the scale 2^(e - 128), 16 bytes of nibbles (low: elements 0-15, high: 16-31):
// a sign and one of 0 1 2 3 4 6 8 12, which are floats of 4 bits, doubled.
#define ZERO 12
#define VALUES_0 0x0f0e0d0cu
#define VALUES_4 0x18141210u
#define VALUES_8 0x090a0b0cu
#define VALUES_12 0x00040608u
#include "quant/look_up.cl"

#define STEP_LEN 32
#define STEP_BYTES 17
#define GROUP_LEN 32

// The two lowest exponents are those of numbers below the normal ones.
INLINE void tile_scale(const global uchar *b, uint g, floats *scale, floats *offset)
{
	words e = to_words(load_bytes(b, 0));
	*scale = as_floats(select((e - (words)1) << (words)23, (words)0x00200000u << e, e < (words)2));
}

INLINE words tile_word(const global uchar *b, uint g, uint i)
{
	return look_up(fields(load_words(b + EVN_TILE_ROWS, i % 4), i / 4 * 4, 4));
}
