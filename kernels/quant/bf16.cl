// bf16.cl - BF16: the upper 16 bits of an f32. A step is 32 values. The scale is 1; the compiler removes it.
#include "common.cl"

#define STEP_LEN 32
#define STEP_BYTES 64
#define GROUP_LEN 32

INLINE void tile_scale(const global uchar *b, uint g, float16 *scale, float16 *offset) { *scale = 1.0f; }

INLINE float16 tile_quant(const global uchar *b, uint g, uint k)
{
	return as_float16(convert_uint16(vload16(k, (const global ushort *)b)) << (uint16)16);
}
