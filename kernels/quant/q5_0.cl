// q5_0.cl - Q5_0: blocks of 32. f16 scale, 32 fifth bits, 16 bytes of low nibbles as in Q4_0. A quant is its five
// bits minus 16.
#include "common.cl"

#define STEP_LEN 32
#define STEP_BYTES 22
#define GROUP_LEN 32
#define ZERO 16

INLINE void tile_scale(const global uchar *b, uint g, floats *scale, floats *offset) { *scale = load_halfs(b); }

INLINE words tile_word(const global uchar *b, uint g, uint i)
{
	words low = fields(load_words(b + 6 * EVN_TILE_ROWS, i % 4), i / 4 * 4, 4);
	return low | bits_to_bytes(load_words(b + 2 * EVN_TILE_ROWS, 0) >> (words)(4 * i)) << (words)4;
}
