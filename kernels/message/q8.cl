// q8.cl - messages between ranks as blocks of 32 signed bytes with a scale, the upper 16 bits of an f32. A byte times
// the scale is exact in f32, so compilers that fuse multiply and add give the same bits as those that do not.
#include "common.cl"

#define BLOCK_BYTES 34

#define BLOCK_COLUMNS (32 / LANES) // by LANES columns

INLINE floats message_load(const global uchar *m, size_t i)
{
	const global uchar *block = m + i / BLOCK_COLUMNS * BLOCK_BYTES;
	float scale = as_float((uint)*(const global ushort *)(block + 32) << 16);
#if LANES == 16
	return to_floats(vload16(i % BLOCK_COLUMNS, (const global char *)block)) * scale;
#else
	return to_floats(((const global char *)block)[i % BLOCK_COLUMNS]) * scale;
#endif
}

// Rounds to the nearest multiple of the scale, which is the largest magnitude / 127, rounded up. Blocks of tiny
// values become zeros, because their scale would have no inverse.
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
