// common.cl - what every kernel shares. Baseline: OpenCL C 1.2, f32, no fp16 arithmetic, no sub-groups.

// Rows that a weight tile interleaves; one vector lane holds one row.
#define TILE_ROWS 16

inline float sum16(float16 v)
{
	float8 a = v.lo + v.hi;
	float4 b = a.lo + a.hi;
	float2 c = b.lo + b.hi;
	return c.x + c.y;
}

// The halfs of 16 rows at p, as f32. vload_half is in the baseline, half arithmetic is not.
inline float16 load_halfs(const global uchar *p) { return vload_half16(0, (const global half *)p); }

inline float16 load_bytes(const global uchar *p) { return convert_float16(vload16(0, p)); }
