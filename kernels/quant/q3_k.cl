// q3_k.cl - Q3_K: blocks of 256 in groups of 16. 32 bytes of third bits, 64 bytes of 2-bit quants laid out as in
// Q2_K, 16 scales of 6 bits (8 bytes of low nibbles, 4 bytes of high bit pairs) minus 32, then the f16 factor. A
// quant is its three bits minus 4.
#include "common.cl"

#define STEP_LEN 256
#define STEP_BYTES 110
#define GROUP_LEN 16
#define UNIT_GROUPS 8
#define ZERO 4

INLINE void tile_scale(const global uchar *b, uint g, floats *scale, floats *offset)
{
	const global uchar *scales = b + 96 * EVN_TILE_ROWS;
	bytes low = bits(load_bytes(scales, g % 8), g / 8 * 4, 4);
	bytes high = bits(load_bytes(scales, 8 + g % 4), g / 4 * 2, 2);
	*scale = load_halfs(b + 108 * EVN_TILE_ROWS) * to_floats(as_chars((bytes)(low | high << (bytes)4)) - (chars)32);
}

INLINE words tile_word(const global uchar *b, uint g, uint i)
{
	uint at = g % 2 * 4 + i;
	words low = fields(load_words(b + 32 * EVN_TILE_ROWS, g / 8 * 8 + at), g % 8 / 2 * 2, 2);
	return low | fields(load_words(b, at), g / 2, 1) << (words)2;
}
