// q5_k.cl - Q5_K: like Q4_K, with 32 bytes of fifth bits before the nibbles. Bit g of byte k belongs to group g.
#include "quant/scales_k.cl"

#define UNIT_GROUPS 2
#define STEP_BYTES 176

INLINE words tile_word(const global uchar *b, uint g, uint i)
{
	words low = fields(load_words(b + 48 * EVN_TILE_ROWS, g / 2 * 8 + i), g % 2 * 4, 4);
	return low | fields(load_words(b + 16 * EVN_TILE_ROWS, i), g, 1) << (words)4;
}
