// q8.cl - messages between ranks in blocks of 32 signed bytes and their scale, the upper 16 bits of an f32: a byte times
// it is exact in f32, so that compilers which fuse products into sums and those which do not give the same bits.
#include "common.cl"

#define BLOCK_BYTES 34

INLINE float16 message_load(const global uchar *m, size_t i)
{
	const global uchar *block = m + i / 2 * BLOCK_BYTES;
	float scale = as_float((uint)*(const global ushort *)(block + 32) << 16);
	return convert_float16(vload16(i % 2, (const global char *)block)) * scale;
}

// Rounded to the nearest multiple of the scale, which is the largest magnitude / 127, rounded up. Blocks of next to
// nothing are zeros: their scale would have no inverse.
INLINE void message_store(global uchar *m, size_t block, float16 lo, float16 hi)
{
	float top = max16(fmax(fabs(lo), fabs(hi)));
	uint scale = top > 1e-30f ? (as_uint(top / 127.0f) + 0xffffu) >> 16 : 0;
	float inverse = scale ? 1.0f / as_float(scale << 16) : 0.0f;
	global uchar *to = m + block * BLOCK_BYTES;
	vstore16(convert_char16_sat(convert_int16(rint(lo * inverse))), 0, (global char *)to);
	vstore16(convert_char16_sat(convert_int16(rint(hi * inverse))), 1, (global char *)to);
	*(global ushort *)(to + 32) = (ushort)scale;
}
