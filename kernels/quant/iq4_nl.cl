// iq4_nl.cl - IQ4_NL: blocks of 32. f16 scale, 16 bytes of nibbles (low: elements 0-15, high: 16-31), values as in
// values_iq4.cl.
#include "quant/values_iq4.cl"

#define STEP_LEN 32
#define STEP_BYTES 18
#define GROUP_LEN 32

INLINE void tile_scale(const global uchar *b, uint g, floats *scale, floats *offset) { *scale = load_halfs(b); }

INLINE words tile_word(const global uchar *b, uint g, uint i)
{
	return look_up(fields(load_words(b + 2 * EVN_TILE_ROWS, i % 4), i / 4 * 4, 4));
}
