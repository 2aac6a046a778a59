// q5_0.cl - blocks of 32: f16 scale, 32 fifth bits, 16 bytes of low nibbles as in Q4_0; the five bits less 16.
#define STEP_LEN 32
#define STEP_BYTES 22
#define GROUP_LEN 32

inline void tile_scale(const global uchar *b, uint g, float16 *scale, float16 *offset) { *scale = load_halfs(b); }

inline float16 tile_quant(const global uchar *b, uint g, uint k)
{
	uchar16 low = bits(vload16(k % 16, b + 6 * TILE_ROWS), k / 16 * 4, 4);
	uchar16 high = bits(vload16(k / 8, b + 2 * TILE_ROWS), k % 8, 1);
	return convert_float16(as_char16(low | high << (uchar16)4) - (char16)16);
}
