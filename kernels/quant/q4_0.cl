// q4_0.cl - blocks of 32: f16 scale, 16 bytes of nibbles less 8 (low: elements 0-15, high: 16-31).
#define STEP_LEN 32
#define STEP_BYTES 18
#define GROUP_LEN 32

inline void tile_scale(const global uchar *b, uint g, float16 *scale, float16 *offset) { *scale = load_halfs(b); }

inline float16 tile_quant(const global uchar *b, uint g, uint k)
{
	uchar16 v = vload16(k % 16, b + 2 * TILE_ROWS);
	return convert_float16(as_char16(bits(v, k / 16 * 4, 4)) - (char16)8);
}
