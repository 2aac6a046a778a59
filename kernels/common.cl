// common.cl - what every kernel shares. Baseline: OpenCL C 1.2, f32, no fp16 arithmetic, no sub-groups.

// Rows that a weight tile interleaves; one vector lane holds one row.
#define TILE_ROWS 16

// Marks kernels written in vectors: compilers that merge work-items into vectors of their own need not try, which on
// an unrolled body takes them minutes.
#define IN_VECTORS __attribute__((vec_type_hint(float16)))

inline float sum16(float16 v)
{
	float8 a = v.lo + v.hi;
	float4 b = a.lo + a.hi;
	float2 c = b.lo + b.hi;
	return c.x + c.y;
}

// The halfs of 16 rows at p, as f32. vload_half is in the baseline, half arithmetic is not.
inline float16 load_halfs(const global uchar *p) { return vload_half16(0, (const global half *)p); }

// n bits of each byte, from bit `at` on.
inline uchar16 bits(uchar16 v, uint at, uint n) { return v >> (uchar16)at & (uchar16)((1u << n) - 1); }

// Q4_K and Q5_K: eight scales and eight minima of 6 bits share 12 bytes, here those of group g.
inline void unpack_scales(const global uchar *scales, uint g, uchar16 *scale, uchar16 *min)
{
	uchar16 a = vload16(g, scales), b = vload16(g + 4, scales);
	if (g < 4) {
		*scale = bits(a, 0, 6);
		*min = bits(b, 0, 6);
	} else {
		*scale = bits(b, 0, 4) | bits(vload16(g - 4, scales), 6, 2) << (uchar16)4;
		*min = bits(b, 4, 4) | bits(a, 6, 2) << (uchar16)4;
	}
}
