// bf16.cl - messages between ranks as bf16: the upper 16 bits of an f32, rounded to nearest, ties to even.
#include "common.cl"

#if LANES == 16
INLINE words message_bits(const global uchar *m, size_t i) { return to_words(vload16(i, (const global ushort *)m)); }
#else
INLINE words message_bits(const global uchar *m, size_t i) { return ((const global ushort *)m)[i]; }
#endif

INLINE floats message_load(const global uchar *m, size_t i) { return as_floats(message_bits(m, i) << (words)16); }

INLINE ushort16 upper_bits(float16 v)
{
	uint16 bits = as_uint16(v);
	return convert_ushort16((bits + (uint16)0x7fff + (bits >> (uint16)16 & (uint16)1)) >> (uint16)16);
}

INLINE void message_store(global uchar *m, size_t block, float16 lo, float16 hi)
{
	vstore16(upper_bits(lo), 2 * block, (global ushort *)m);
	vstore16(upper_bits(hi), 2 * block + 1, (global ushort *)m);
}
