// q4_0.cl - Q4_0: blocks of 32. f16 scale, 16 bytes of nibbles minus 8 (low: elements 0-15, high: 16-31).
#include "common.cl"

#define STEP_LEN 32
#define STEP_BYTES 18
#define GROUP_LEN 32
#define ZERO 8

INLINE void tile_scale(const global uchar *b, uint g, floats *scale, floats *offset) { *scale = load_halfs(b); }

INLINE words tile_word(const global uchar *b, uint g, uint i)
{
	return fields(load_words(b + 2 * EVN_TILE_ROWS, i % 4), i / 4 * 4, 4);
}
