// q5_k.cl - Q4_K with 32 bytes of fifth bits before the nibbles: bit g of byte k is group g's.
#define STEP_LEN 256
#define STEP_BYTES 176
#define GROUP_LEN 32
#define HAS_OFFSET

inline void tile_scale(const global uchar *b, uint g, float16 *scale, float16 *offset)
{
	uchar16 s, m;
	unpack_scales(b + 4 * TILE_ROWS, g, &s, &m);
	*scale = load_halfs(b) * convert_float16(s);
	*offset = -load_halfs(b + 2 * TILE_ROWS) * convert_float16(m);
}

inline float16 tile_quant(const global uchar *b, uint g, uint k)
{
	uchar16 low = bits(vload16(g / 2 * 32 + k, b + 48 * TILE_ROWS), g % 2 * 4, 4);
	uchar16 high = bits(vload16(k, b + 16 * TILE_ROWS), g, 1);
	return convert_float16(low | high << (uchar16)4);
}
