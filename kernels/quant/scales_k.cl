// scales_k.cl - what Q4_K and Q5_K share: blocks of 256 in groups of 32. A block begins with the f16 factors of the
// scales and of the minima. 12 bytes follow with eight scales and eight minima of 6 bits each.
#include "common.cl"

#define STEP_LEN 256
#define GROUP_LEN 32
#define ZERO 0
#define HAS_OFFSET

// The scales and minima of group g.
INLINE void unpack_scales(const global uchar *scales, uint g, bytes *scale, bytes *min)
{
	bytes a = load_bytes(scales, g), b = load_bytes(scales, g + 4);
	if (g < 4) {
		*scale = bits(a, 0, 6);
		*min = bits(b, 0, 6);
	} else {
		*scale = bits(b, 0, 4) | bits(load_bytes(scales, g - 4), 6, 2) << (bytes)4;
		*min = bits(b, 4, 4) | bits(a, 6, 2) << (bytes)4;
	}
}

INLINE void tile_scale(const global uchar *b, uint g, floats *scale, floats *offset)
{
	bytes s, m;
	unpack_scales(b + 4 * EVN_TILE_ROWS, g, &s, &m);
	*scale = load_halfs(b) * to_floats(s);
	*offset = -load_halfs(b + 2 * EVN_TILE_ROWS) * to_floats(m);
}
