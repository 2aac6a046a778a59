// q5_1.cl - Q5_1: blocks of 32. f16 scale, f16 minimum, 32 fifth bits, 16 bytes of low nibbles as in Q4_1.
#include "common.cl"

#define STEP_LEN 32
#define STEP_BYTES 24
#define GROUP_LEN 32
#define ZERO 0
#define HAS_OFFSET

INLINE void tile_scale(const global uchar *b, uint g, floats *scale, floats *offset)
{
	*scale = load_halfs(b);
	*offset = load_halfs(b + 2 * EVN_TILE_ROWS);
}

INLINE words tile_word(const global uchar *b, uint g, uint i)
{
	words low = fields(load_words(b + 8 * EVN_TILE_ROWS, i % 4), i / 4 * 4, 4);
	return low | bits_to_bytes(load_words(b + 4 * EVN_TILE_ROWS, 0) >> (words)(4 * i)) << (words)4;
}
