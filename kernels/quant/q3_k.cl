// q3_k.cl - Q3_K: blocks of 256 in groups of 16. 32 bytes of third bits, 64 bytes of 2-bit quants laid out as in
// Q2_K, 16 scales of 6 bits (8 bytes of low nibbles, 4 bytes of high bit pairs) minus 32, then the f16 factor. A
// quant is its three bits minus 4.
#include "common.cl"

#define STEP_LEN 256
#define STEP_BYTES 110
#define GROUP_LEN 16
#define ZERO 4

INLINE void tile_scale(const global uchar *b, uint g, float16 *scale, float16 *offset)
{
	const global uchar *scales = b + 96 * EVN_TILE_ROWS;
	uchar16 low = bits(vload16(g % 8, scales), g / 8 * 4, 4);
	uchar16 high = bits(vload16(8 + g % 4, scales), g / 4 * 2, 2);
	*scale = load_halfs(b + 108 * EVN_TILE_ROWS) * convert_float16(as_char16(low | high << (uchar16)4) - (char16)32);
}

INLINE uint16 tile_word(const global uchar *b, uint g, uint i)
{
	uint at = g % 2 * 4 + i;
	uint16 low = fields(load_words(b + 32 * EVN_TILE_ROWS, g / 8 * 8 + at), g % 8 / 2 * 2, 2);
	return low | fields(load_words(b, at), g / 2, 1) << (uint16)2;
}
