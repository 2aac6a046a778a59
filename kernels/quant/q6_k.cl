// q6_k.cl - Q6_K: blocks of 256 in groups of 16. 128 bytes of low nibbles, 64 bytes of high bit pairs, 16 signed
// scales, then the f16 factor. A quant is its six bits minus 32. A half of 128 elements is four rows of 32: 64 bytes
// hold two rows in their low and two in their high nibbles, and a byte of pairs holds one pair for each row.
#include "common.cl"

#define STEP_LEN 256
#define STEP_BYTES 210
#define GROUP_LEN 16
#define UNIT_GROUPS 8
#define ZERO 32

INLINE void tile_scale(const global uchar *b, uint g, floats *scale, floats *offset)
{
	*scale = load_halfs(b + 208 * EVN_TILE_ROWS) * to_floats(as_chars(load_bytes(b + 192 * EVN_TILE_ROWS, g)));
}

INLINE words tile_word(const global uchar *b, uint g, uint i)
{
	uint half_block = g / 8, row = g % 8 / 2, at = g % 2 * 4 + i;
	words low = fields(load_words(b, half_block * 16 + row % 2 * 8 + at), row / 2 * 4, 4);
	return low | fields(load_words(b + 128 * EVN_TILE_ROWS, half_block * 8 + at), row * 2, 2) << (words)4;
}
