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
INLINE void store_lane(global float *y, size_t t, uint stride, uint column, float v, local float4 *part)
{
	const uint item = get_local_id(0), block = item / 32 * 8;
	barrier(CLK_LOCAL_MEM_FENCE); // another item may still read the last block
	((local float *)part)[item] = v;
	barrier(CLK_LOCAL_MEM_FENCE);
	const float top = magnitude(part + block);
	const int byte = nearest(v * (top > 0.0f ? 127.0f / top : 0.0f));
	barrier(CLK_LOCAL_MEM_FENCE);
	((local int *)part)[item] = byte;
	barrier(CLK_LOCAL_MEM_FENCE);
	// volatile: PoCL 3.1 lets an item that writes nothing write back what it read at its address, which is in another row.
	volatile global uchar *to = (volatile global uchar *)y + (t * (stride / 32) + column / 32) * Q8_BYTES;
	if (column < stride)
		((volatile global char *)to)[column % 32] = (char)byte;
	if (column < stride && column % 32 == 0) {
		const local int4 *bytes_of = (const local int4 *)part + block;
		const int first = sum_of(bytes_of), last = sum_of(bytes_of + 4);
		const float scale = top / 127.0f;
		*(volatile global float *)(to + EVN_Q8_SCALE) = scale;
		*(volatile global int *)(to + EVN_Q8_SUM) = first + last;
		*(volatile global float2 *)(to + EVN_Q8_HALF_SUMS) = scale * (float2)((float)first, (float)last);
	}
}
#endif
