// common.cl - the helpers that all kernels share. The baseline is OpenCL C 1.2 with f32: no fp16 arithmetic, no
// sub-groups.
#include "constants.h"
#include "variants.h"

// For kernels that are written with vectors. It tells a compiler not to merge work-items into vectors of its own,
// which takes minutes on an unrolled body.
#define IN_VECTORS __attribute__((vec_type_hint(float16)))

// Without it, a compiler makes real functions of large helpers that are called several times. This costs a third of
// the speed.
#define INLINE inline __attribute__((always_inline))

// The number of a work-item in a launch by evn_launch_items.
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

// SiLU: x times its logistic function (Hendrycks & Gimpel 2016).
INLINE float16 silu16(float16 x) { return x / (1.0f + exp(-x)); }

// Loads the halfs of 16 rows at p as f32. The baseline has vload_half, but no half arithmetic.
INLINE float16 load_halfs(const global uchar *p) { return vload_half16(0, (const global half *)p); }

// Loads the i-th 32-bit word of each of 16 rows. A word is four consecutive bytes of a row, the first one lowest
// (devices are little-endian).
INLINE uint16 load_words(const global uchar *p, uint i) { return vload16(i, (const global uint *)p); }

// n bits of each byte of the words, from bit `at` on.
INLINE uint16 fields(uint16 v, uint at, uint n) { return v >> (uint16)at & (uint16)(((1u << n) - 1) * 0x01010101u); }

// Distributes the lowest four bits of each word to its four bytes.
INLINE uint16 bits_to_bytes(uint16 v) { return (v & (uint16)15) * (uint16)0x00204081u & (uint16)0x01010101u; }

// n bits of each byte, from bit `at` on.
INLINE uchar16 bits(uchar16 v, uint at, uint n) { return v >> (uchar16)at & (uchar16)((1u << n) - 1); }
