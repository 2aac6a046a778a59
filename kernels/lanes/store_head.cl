// store_head.cl - writes a head of attention's result, with scalars. Parameters: those of heads.cl, STORE.
#include "lanes/heads.cl"
#include STORE

// Writes zeros to the columns [begin, end) of a row.
INLINE void store_zeros(global float *out, size_t row, uint stride, uint begin, uint end, local float4 *stored)
{
	for (uint first = begin; first < end; first += EVN_LANE_ITEMS) {
		const uint column = first + get_local_id(0);
		store_lane(out, row, stride, column < end ? column : stride, 0.0f, stored);
	}
}

// Writes head h, divided by `sum`, to a row of out, at column at.y + h * HEAD_DIM, and beside the first and the last head
// zeros. All items of the group call it. at: stride and offset. Unless STORE writes f32, heads begin and end at blocks of
// 32 columns.
INLINE void store_head(global float *out, size_t row, uint2 at, uint h, uint n_heads, const local float *head, float sum,
                       local float4 *stored)
{
	const uint begin = at.y + h * HEAD_DIM;
	if (h == 0)
		store_zeros(out, row, at.x, 0, at.y, stored);
	for (uint first = 0; first < HEAD_DIM; first += EVN_LANE_ITEMS) {
		const uint d = first + get_local_id(0);
		store_lane(out, row, at.x, d < HEAD_DIM ? begin + d : at.x, d < HEAD_DIM ? head[d] / sum : 0.0f, stored);
	}
	if (h == n_heads - 1)
		store_zeros(out, row, at.x, begin + HEAD_DIM, at.x, stored);
}
