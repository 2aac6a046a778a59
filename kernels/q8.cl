// q8.cl - rows of 8-bit activations: for each 32 columns a block of 32 signed bytes, their f32 scale, and the sums of the
// first and last 16 bytes, by which the zero points and offsets of weights are multiplied.
#define Q8_BYTES 48

INLINE float q8_scale(const global uchar *block) { return *(const global float *)(block + 32); }
INLINE int q8_sum(const global uchar *block, uint half_block) { return ((const global int *)(block + 36))[half_block]; }

// Rounded to the nearest multiple of the scale, which is the largest magnitude / 127.
INLINE void q8_store(global uchar *block, float16 lo, float16 hi)
{
	float top = max16(fmax(fabs(lo), fabs(hi)));
	float inverse = top > 0.0f ? 127.0f / top : 0.0f;
	lo = rint(lo * inverse);
	hi = rint(hi * inverse);
	vstore16(convert_char16(convert_int16(lo)), 0, (global char *)block);
	vstore16(convert_char16(convert_int16(hi)), 1, (global char *)block);
	*(global float *)(block + 32) = top / 127.0f;
	vstore2((int2)((int)sum16(lo), (int)sum16(hi)), 0, (global int *)(block + 36));
}
