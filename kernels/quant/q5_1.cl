// q5_1.cl - blocks of 32: f16 scale, f16 minimum, 32 fifth bits, 16 bytes of low nibbles as in Q4_1.
#define STEP_LEN 32
#define STEP_BYTES 24
#define GROUP_LEN 32
#define HAS_OFFSET

inline void tile_scale(const global uchar *b, uint g, float16 *scale, float16 *offset)
{
	*scale = load_halfs(b);
	*offset = load_halfs(b + 2 * TILE_ROWS);
}

inline float16 tile_quant(const global uchar *b, uint g, uint k)
{
	uchar16 low = bits(vload16(k % 16, b + 8 * TILE_ROWS), k / 16 * 4, 4);
	uchar16 high = bits(vload16(k / 8, b + 4 * TILE_ROWS), k % 8, 1);
	return convert_float16(low | high << (uchar16)4);
}
