// mxfp4.cl - MXFP4: blocks of 32. Exponent of the scale 2^(e - 128), 16 bytes of nibbles (low: elements 0-15, high: 16-31)
// of values_e2m1.cl.
#include "quant/values_e2m1.cl"

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
