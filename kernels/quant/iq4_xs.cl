// iq4_xs.cl - IQ4_XS: blocks of 256 in groups of 32. f16 factor of the scales, eight scales of 6 bits minus 32 (2 bytes of
// high bit pairs, 4 bytes of low nibbles), then 16 bytes of nibbles for each group as in IQ4_NL.
#include "quant/values_iq4.cl"

#define STEP_LEN 256
#define STEP_BYTES 136
#define GROUP_LEN 32

INLINE void tile_scale(const global uchar *b, uint g, floats *scale, floats *offset)
{
	const global uchar *scales = b + 2 * EVN_TILE_ROWS;
	bytes low = bits(load_bytes(scales, 2 + g / 2), g % 2 * 4, 4);
	bytes high = bits(load_bytes(scales, g / 4), g % 4 * 2, 2);
	*scale = load_halfs(b) * to_floats(as_chars((bytes)(low | high << (bytes)4)) - (chars)32);
}

INLINE words tile_word(const global uchar *b, uint g, uint i)
{
	return look_up(fields(load_words(b + 8 * EVN_TILE_ROWS, g * 4 + i % 4), i / 4 * 4, 4));
}
