// q4_k.cl - blocks of 256 in groups of 32: f16 factors of the scales and of the minima, 8 of each of 6 bits, 128 bytes
// of nibbles (32 bytes hold two groups).
#define STEP_LEN 256
#define STEP_BYTES 144
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
	return fields(load_words(b + 16 * TILE_ROWS, g / 2 * 8 + i), g % 2 * 4, 4);
}
