// q6_k.cl - blocks of 256 in groups of 16: 128 bytes of low nibbles, 64 of high pairs, 16 signed scales, f16 factor;
// the six bits less 32. A half of 128 elements is four rows of 32: two in each nibble of 64 bytes, one in each pair.
#define STEP_LEN 256
#define STEP_BYTES 210
#define GROUP_LEN 16

inline void tile_scale(const global uchar *b, uint g, float16 *scale, float16 *offset)
{
	*scale = load_halfs(b + 208 * TILE_ROWS) * convert_float16(as_char16(vload16(g, b + 192 * TILE_ROWS)));
}

inline float16 tile_quant(const global uchar *b, uint g, uint k)
{
	uint half_block = g / 8, row = g % 8 / 2, at = g % 2 * 16 + k;
	uchar16 low = bits(vload16(half_block * 64 + row % 2 * 32 + at, b), row / 2 * 4, 4);
	uchar16 high = bits(vload16(half_block * 32 + at, b + 128 * TILE_ROWS), row * 2, 2);
	return convert_float16(as_char16(low | high << (uchar16)4) - (char16)32);
}
