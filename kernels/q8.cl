// q8.cl - rows of 8-bit activations. Each 32 columns are a block: 32 signed bytes, their f32 scale, and the factors
// for the zero points and offsets of weights. These are the sum of the bytes as int, and, multiplied by the scale as
// f32, the sums of the first 16, of the last 16 and of all. A product thus needs only vector arithmetic.
#include "common.cl"

#if LANES == 16
#define Q8_BYTES EVN_Q8_BYTES
#else
#define Q8_BYTES EVN_Q8_LANE_BYTES
#endif

INLINE float q8_scale(const global uchar *block) { return *(const global float *)(block + EVN_Q8_SCALE); }
INLINE int q8_sum(const global uchar *block) { return *(const global int *)(block + EVN_Q8_SUM); }
INLINE float q8_scaled_half_sum(const global uchar *block, uint half_block) { return ((const global float *)(block + EVN_Q8_HALF_SUMS))[half_block]; }

// The nearest integers, ties to even, of magnitudes below 2^22. After adding 1.5 * 2^23 the lowest bits are the
// integer. rint would be a call for each lane in PoCL 3.1.
INLINE ints nearest(floats v) { return as_ints(v + 12582912.0f) - (ints)0x4b400000; }

#if LANES == 16
INLINE float q8_scaled_sum(const global uchar *block) { return *(const global float *)(block + EVN_Q8_SCALED_SUM); }

// The largest magnitude. Magnitudes of floats have the order of their bits as integers. Comparing integers is one
// instruction; fmax, which handles NaNs, is several.
INLINE float magnitude(float16 lo, float16 hi)
{
	const uint16 unsigned_bits = 0x7fffffffu;
	return as_float(max16_uint(max(as_uint16(lo) & unsigned_bits, as_uint16(hi) & unsigned_bits)));
}

// Rounds to the nearest multiple of the scale, which is the largest magnitude / 127.
INLINE void q8_store(global uchar *block, float16 lo, float16 hi)
{
	float top = magnitude(lo, hi);
	float inverse = top > 0.0f ? 127.0f / top : 0.0f;
	float scale = top / 127.0f;
	int16 a = nearest(lo * inverse), b = nearest(hi * inverse);
	int first = sum16_int(a), last = sum16_int(b);
	vstore16(convert_char16(a), 0, (global char *)block);
	vstore16(convert_char16(b), 1, (global char *)block);
	*(global float *)(block + EVN_Q8_SCALE) = scale;
	*(global int *)(block + EVN_Q8_SUM) = first + last;
	vstore2(scale * (float2)((float)first, (float)last), 0, (global float *)(block + EVN_Q8_HALF_SUMS));
	*(global float *)(block + EVN_Q8_SCALED_SUM) = scale * (float)(first + last);
}
#else
INLINE float q8_scaled_sum(const global uchar *block) { return q8_scaled_half_sum(block, 0) + q8_scaled_half_sum(block, 1); }

// The largest magnitude of the 32 values at v, by their bits as integers.
INLINE float magnitude(const local float4 *v)
{
	uint4 most = 0;
#pragma unroll
	for (uint i = 0; i < 8; i++)
		most = max(most, as_uint4(v[i]) & 0x7fffffffu);
	return as_float(max(max(most.x, most.y), max(most.z, most.w)));
}

// The sum of the 16 values at v.
INLINE int sum_of(const local int4 *v)
{
	int4 sum = v[0] + v[1] + v[2] + v[3];
	return sum.x + sum.y + sum.z + sum.w;
}
#endif
