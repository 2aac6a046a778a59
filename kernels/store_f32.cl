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
// Writes v to a column of row t of an activation matrix of `stride` columns; as in store_q8.cl.
INLINE void store_lane(global float *y, size_t t, uint stride, uint column, float v, local float4 *part)
{
	const uint item = get_local_id(0), own = column < stride ? (uint)t * stride + column : UINT_MAX;
	barrier(CLK_LOCAL_MEM_FENCE);
	((local uint *)part)[item] = own;
	barrier(CLK_LOCAL_MEM_FENCE);
	const uint first_place = ((const local uint *)part)[0];
	barrier(CLK_LOCAL_MEM_FENCE);
	((local float *)part)[item] = v;
	barrier(CLK_LOCAL_MEM_FENCE);
	const float same = own == UINT_MAX ? ((const local float *)part)[0] : v;
	if (first_place != UINT_MAX)
		y[own == UINT_MAX ? first_place : own] = same;
}
#endif
