// store_f32.cl - writes activations as f32.
#include "common.cl"

#if LANES == 16
// Writes columns 32 b .. 32 b + 31 of row t of an activation matrix of `stride` columns.
INLINE void store_block(global float *y, size_t t, uint stride, uint b, float16 lo, float16 hi)
{
	global float *to = y + t * stride + b * 32;
	vstore16(lo, 0, to);
	vstore16(hi, 1, to);
}
#else
// Writes v to a column of row t of an activation matrix of `stride` columns; as in store_q8.cl, volatile too.
INLINE void store_lane(global float *y, size_t t, uint stride, uint column, float v, local float4 *part)
{
	if (column < stride)
		((volatile global float *)y)[t * stride + column] = v;
}
#endif
