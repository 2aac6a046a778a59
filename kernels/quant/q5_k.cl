// q5_k.cl - Q4_K with 32 bytes of fifth bits before the nibbles: bit g of byte k is group g's.
#define STEP_LEN 256
#define STEP_BYTES 176
#define GROUP_LEN 32
#define ZERO 0
#define HAS_OFFSET

INLINE void tile_scale(const global uchar *b, uint g, float16 *scale, float16 *offset)
{
	uchar16 s, m;
	unpack_scales(b + 4 * TILE_ROWS, g, &s, &m);
	*scale = load_halfs(b) * convert_float16(s);
	*offset = -load_halfs(b + 2 * TILE_ROWS) * convert_float16(m);
}

INLINE uint16 tile_word(const global uchar *b, uint g, uint i)
{
	uint16 low = fields(load_words(b + 48 * TILE_ROWS, g / 2 * 8 + i), g % 2 * 4, 4);
	return low | fields(load_words(b + 16 * TILE_ROWS, i), g, 1) << (uint16)4;
}
