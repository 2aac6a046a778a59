// q8.cl - rows of 8-bit activations: for each 32 columns a block of 32 signed bytes, their f32 scale, and what the zero points
// and offsets of weights are multiplied by: the sum of the bytes as int and, times the scale as f32, those of the first and
// last 16 and of all, so that a product needs no arithmetic but with vectors.
#include "common.cl"

INLINE float q8_scale(const global uchar *block) { return *(const global float *)(block + EVN_Q8_SCALE); }
INLINE int q8_sum(const global uchar *block) { return *(const global int *)(block + EVN_Q8_SUM); }
INLINE float q8_scaled_half_sum(const global uchar *block, uint half_block) { return ((const global float *)(block + EVN_Q8_HALF_SUMS))[half_block]; }
INLINE float q8_scaled_sum(const global uchar *block) { return *(const global float *)(block + EVN_Q8_SCALED_SUM); }

// The largest magnitude: those of floats order as their bits do as integers, and comparing integers is one instruction
// where fmax, which minds NaNs, is several.
INLINE float magnitude(float16 lo, float16 hi)
{
	const uint16 unsigned_bits = 0x7fffffffu;
	return as_float(max16_uint(max(as_uint16(lo) & unsigned_bits, as_uint16(hi) & unsigned_bits)));
}

// The nearest integers, ties to even, of magnitudes below 2^22: where 1.5 * 2^23 has been added the lowest bits are the
// integer, and rint is a call for each lane in PoCL 3.1.
INLINE int16 nearest(float16 v) { return as_int16(v + 12582912.0f) - (int16)0x4b400000; }

// Rounded to the nearest multiple of the scale, which is the largest magnitude / 127.
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
