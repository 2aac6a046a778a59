// nvfp4.cl - NVFP4: blocks of 64 in groups of 16. Four scales, floats of 8 bits without a sign (four bits of exponent, three
// of mantissa), then 8 bytes of nibbles for each group (low: elements 0-7, high: 8-15) of values_e2m1.cl.
#include "quant/values_e2m1.cl"

#define STEP_LEN 64
#define STEP_BYTES 36
#define GROUP_LEN 16

// Half of what the code says, as the values are doubled. Exponent 0: numbers below the normal ones. 0x7f is no number
// and counts as 0.
INLINE void tile_scale(const global uchar *b, uint g, floats *scale, floats *offset)
{
	words code = to_words(load_bytes(b, g)), e = code >> (words)3 & (words)15;
	floats normal = as_floats(((code & (words)127) << (words)20) + (words)(119u << 23));
	floats small = to_floats(code & (words)7) * 0x1p-10f;
	*scale = select(select(normal, small, e == (words)0), (floats)0.0f, code == (words)127);
}

INLINE words tile_word(const global uchar *b, uint g, uint i)
{
	return look_up(fields(load_words(b + 4 * EVN_TILE_ROWS, g * 2 + i % 2), i / 2 * 4, 4));
}
