// q4_1.cl - blocks of 32: f16 scale, f16 minimum, 16 bytes of nibbles (low: elements 0-15, high: 16-31).
#define STEP_LEN 32
#define STEP_BYTES 20
#define GROUP_LEN 32
#define HAS_OFFSET

inline void tile_scale(const global uchar *b, uint g, float16 *scale, float16 *offset)
{
	*scale = load_halfs(b);
	*offset = load_halfs(b + 2 * TILE_ROWS);
}

inline float16 tile_quant(const global uchar *b, uint g, uint k)
{
	uchar16 v = vload16(k % 16, b + 4 * TILE_ROWS);
	return convert_float16(bits(v, k / 16 * 4, 4));
}
