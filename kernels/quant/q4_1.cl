// q4_1.cl - Q4_1: blocks of 32. f16 scale, f16 minimum, 16 bytes of nibbles (low: elements 0-15, high: 16-31).
#include "common.cl"

#define STEP_LEN 32
#define STEP_BYTES 20
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
	return fields(load_words(b + 4 * EVN_TILE_ROWS, i % 4), i / 4 * 4, 4);
}
