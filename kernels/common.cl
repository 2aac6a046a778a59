// common.cl - what every kernel shares. Baseline: OpenCL C 1.2, f32, no fp16 arithmetic, no sub-groups.
#include "constants.h"
#include "variants.h"

// Marks kernels written in vectors: compilers that merge work-items into vectors of their own need not try, which on
// an unrolled body takes them minutes.
#define IN_VECTORS __attribute__((vec_type_hint(float16)))

// Left to itself a compiler makes large helpers called several times into functions, which costs a third of the speed.
#define INLINE inline __attribute__((always_inline))

// The number of a work-item among those of evn_launch_items.
INLINE size_t flat_id(void) { return get_global_id(1) * get_global_size(0) + get_global_id(0); }

INLINE float sum16(float16 v)
{
	float8 a = v.lo + v.hi;
	float4 b = a.lo + a.hi;
	float2 c = b.lo + b.hi;
	return c.x + c.y;
}

INLINE float max16(float16 v)
{
	float8 a = fmax(v.lo, v.hi);
	float4 b = fmax(a.lo, a.hi);
	float2 c = fmax(b.lo, b.hi);
	return fmax(c.x, c.y);
}

INLINE int sum16_int(int16 v)
{
	int8 a = v.lo + v.hi;
	int4 b = a.lo + a.hi;
	int2 c = b.lo + b.hi;
	return c.x + c.y;
}

INLINE uint max16_uint(uint16 v)
{
	uint8 a = max(v.lo, v.hi);
	uint4 b = max(a.lo, a.hi);
	uint2 c = max(b.lo, b.hi);
	return max(c.x, c.y);
}

// Sigmoid linear unit: x times its logistic function (Hendrycks & Gimpel 2016).
INLINE float16 silu16(float16 x) { return x / (1.0f + exp(-x)); }

// The halfs of 16 rows at p, as f32. vload_half is in the baseline, half arithmetic is not.
INLINE float16 load_halfs(const global uchar *p) { return vload_half16(0, (const global half *)p); }

// The i-th 32-bit word of each of 16 rows: four consecutive bytes of a row, the first lowest (devices are little-endian).
INLINE uint16 load_words(const global uchar *p, uint i) { return vload16(i, (const global uint *)p); }

// n bits of each byte of the words, from bit `at` on.
INLINE uint16 fields(uint16 v, uint at, uint n) { return v >> (uint16)at & (uint16)(((1u << n) - 1) * 0x01010101u); }

// The lowest four bits of each word, one to a byte.
INLINE uint16 bits_to_bytes(uint16 v) { return (v & (uint16)15) * (uint16)0x00204081u & (uint16)0x01010101u; }

// n bits of each byte, from bit `at` on.
INLINE uchar16 bits(uchar16 v, uint at, uint n) { return v >> (uchar16)at & (uchar16)((1u << n) - 1); }
