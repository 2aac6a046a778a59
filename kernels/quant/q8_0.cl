// q8_0.cl - Q8_0: blocks of 32. f16 scale, 32 signed bytes. Flipping the sign bit makes them unsigned and 128 too
// large.
#include "common.cl"

#define STEP_LEN 32
#define STEP_BYTES 34
#define GROUP_LEN 32
#define ZERO 128

INLINE void tile_scale(const global uchar *b, uint g, floats *scale, floats *offset) { *scale = load_halfs(b); }

INLINE words tile_word(const global uchar *b, uint g, uint i)
{
	return load_words(b + 2 * EVN_TILE_ROWS, i) ^ (words)0x80808080u;
}
