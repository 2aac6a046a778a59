// store_q8.cl - writes activations as blocks of 8-bit integers.
#include "q8.cl"

#if LANES == 16
// Writes columns 32 b .. 32 b + 31 of row t of an activation matrix of `stride` columns.
INLINE void store_block(global float *y, size_t t, uint stride, uint b, float16 lo, float16 hi)
{
	q8_store((global uchar *)y + (t * (stride / 32) + b) * Q8_BYTES, lo, hi);
}
#else
// Writes v to a column of row t of an activation matrix of `stride` columns. All items of a work-group call it, with
// columns side by side from a multiple of 32 on. Columns from `stride` on are not written. part: a float for each item.
//
// PoCL 3.1 decides a condition behind the last barrier by the first item, for all items: it wrote columns from `stride` on,
// which are in another row. So every item stores. One without a column does again what the first item does; if that has
// none, none has.
INLINE void store_lane(global float *y, size_t t, uint stride, uint column, float v, local float4 *part)
{
	const uint item = get_local_id(0), own = column < stride ? (uint)t * stride + column : UINT_MAX;
	barrier(CLK_LOCAL_MEM_FENCE); // another item may still read the last block
	((local uint *)part)[item] = own;
	barrier(CLK_LOCAL_MEM_FENCE);
	const uint first_place = ((const local uint *)part)[0];
	const uint block = own == UINT_MAX ? 0 : item / 32 * 8, place = own == UINT_MAX ? first_place : own;
	barrier(CLK_LOCAL_MEM_FENCE);
	((local float *)part)[item] = v;
	barrier(CLK_LOCAL_MEM_FENCE);
	const float top = magnitude(part + block), same = own == UINT_MAX ? ((const local float *)part)[0] : v;
	const int byte = nearest(same * (top > 0.0f ? 127.0f / top : 0.0f));
	barrier(CLK_LOCAL_MEM_FENCE);
	((local int *)part)[item] = byte;
	barrier(CLK_LOCAL_MEM_FENCE);
	const local int4 *bytes_of = (const local int4 *)part + block;
	const int first = sum_of(bytes_of), last = sum_of(bytes_of + 4);
	const float scale = top / 127.0f;
	if (first_place != UINT_MAX) {
		global uchar *to = (global uchar *)y + place / 32 * (size_t)Q8_BYTES;
		((global char *)to)[place % 32] = (char)byte;
		*(global float *)(to + EVN_Q8_SCALE) = scale;
		*(global int *)(to + EVN_Q8_SUM) = first + last;
		*(global float2 *)(to + EVN_Q8_HALF_SUMS) = scale * (float2)((float)first, (float)last);
	}
}
#endif
