// q8_0.cl - blocks of 32: f16 scale, 32 signed bytes.
#define STEP_LEN 32
#define STEP_BYTES 34
#define GROUP_LEN 32

inline void tile_scale(const global uchar *b, uint g, float16 *scale, float16 *offset) { *scale = load_halfs(b); }

inline float16 tile_quant(const global uchar *b, uint g, uint k)
{
	return convert_float16(as_char16(vload16(k, b + 2 * TILE_ROWS)));
}
