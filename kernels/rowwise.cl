// rowwise.cl - operations on the rows of an activation matrix (n_tok, stride): gates and biases. Strides are
// multiples of 32, and the columns from the true width to the stride are zeros, so no code for a remainder is needed.
// Parameters: GATE, STORE.
#include "common.cl"
#include GATE
#include STORE

INLINE floats swiglu_columns(const global float *gate, uint up_offset)
{
	return combine(load_columns(gate, 0), load_columns(gate + up_offset, 0));
}

// y[t][i] = combine(gate[t][i], up[t][i]) for i < width, and 0 up to y_stride (Shazeer 2020). In gu the gate is at
// column 0 and up at column up_offset. width is a multiple of 16. Work-item (32 columns, t); with scalars (column, t).
#if LANES == 16
kernel IN_VECTORS void swiglu(global float *y, uint y_stride, const global float *gu, uint gu_stride, uint up_offset, uint width)
{
	uint b = get_global_id(0), i = b * 32;
	size_t t = get_global_id(1);
	const global float *gate = gu + t * gu_stride + i;
	float16 lo = 0.0f, hi = 0.0f;
	if (i < width)
		lo = swiglu_columns(gate, up_offset);
	if (i + 16 < width)
		hi = swiglu_columns(gate + 16, up_offset);
	store_block(y, t, y_stride, b, lo, hi);
}
#else
kernel __attribute__((reqd_work_group_size(EVN_LANE_ITEMS, 1, 1)))
void swiglu(global float *y, uint y_stride, const global float *gu, uint gu_stride, uint up_offset, uint width)
{
	local float4 part[EVN_LANE_ITEMS / 4];
	uint i = get_global_id(0);
	size_t t = get_global_id(1);
	store_lane(y, t, y_stride, i, i < width ? swiglu_columns(gu + t * gu_stride + i, up_offset) : 0.0f, part);
}
#endif

// y[t][y_offset + i] += b[b_offset + i]. Work-item (LANES columns, t).
kernel IN_VECTORS void add_bias(global float *y, uint stride, uint y_offset, const global float *b, uint b_offset)
{
	size_t i = get_global_id(0), t = get_global_id(1);
	global float *yt = y + t * stride + y_offset;
	store_columns(load_columns(yt, i) + load_columns(b + b_offset, i), i, yt);
}
