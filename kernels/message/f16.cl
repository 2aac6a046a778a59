// f16.cl - messages between ranks as halfs, rounded to nearest. Values beyond the largest half become it (65504).
#include "common.cl"

#if LANES == 16
INLINE floats message_load(const global uchar *m, size_t i) { return vload_half16(i, (const global half *)m); }
#else
INLINE floats message_load(const global uchar *m, size_t i) { return vload_half(i, (const global half *)m); }
#endif

INLINE void message_store(global uchar *m, size_t block, float16 lo, float16 hi)
{
	const float16 top = 65504.0f;
	vstore_half16_rte(clamp(lo, -top, top), 2 * block, (global half *)m);
	vstore_half16_rte(clamp(hi, -top, top), 2 * block + 1, (global half *)m);
}
