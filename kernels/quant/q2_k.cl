// q2_k.cl - Q2_K: blocks of 256 in groups of 16. 16 bytes with the scale and the minimum of each group (nibbles), 64
// bytes of 2-bit quants, then the f16 factors of the scales and of the minima. Byte 32 h + i holds element i of four
// rows of 32, two bits for each row.
#include "common.cl"

#define STEP_LEN 256
#define STEP_BYTES 84
#define GROUP_LEN 16
#define UNIT_GROUPS 8
#define ZERO 0
#define HAS_OFFSET

INLINE void tile_scale(const global uchar *b, uint g, floats *scale, floats *offset)
{
	bytes v = load_bytes(b, g);
	*scale = load_halfs(b + 80 * EVN_TILE_ROWS) * to_floats(bits(v, 0, 4));
	*offset = -load_halfs(b + 82 * EVN_TILE_ROWS) * to_floats(bits(v, 4, 4));
}

INLINE words tile_word(const global uchar *b, uint g, uint i)
{
	return fields(load_words(b + 16 * EVN_TILE_ROWS, g / 8 * 8 + g % 2 * 4 + i), g % 8 / 2 * 2, 2);
}
