// q4_k.cl - Q4_K: scales and minima as in scales_k.cl, then 128 bytes of nibbles (32 bytes hold two groups).
#include "quant/scales_k.cl"

#define UNIT_GROUPS 2
#define STEP_BYTES 144

INLINE words tile_word(const global uchar *b, uint g, uint i)
{
	return fields(load_words(b + 16 * EVN_TILE_ROWS, g / 2 * 8 + i), g % 2 * 4, 4);
}
