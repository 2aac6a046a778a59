// rowwise.cl - operations on the rows of an activation matrix (n_tok, stride): gates and biases. Strides are
// multiples of 32, and the columns from the true width to the stride are zeros, so no code for a remainder is needed.
// Parameter: STORE.
#include "common.cl"
#include STORE

INLINE float16 swiglu16(const global float *gate, uint up_offset)
{
	return silu16(vload16(0, gate)) * vload16(0, gate + up_offset);
}

// y[t][i] = silu(gate[t][i]) * up[t][i] for i < width, and 0 up to y_stride (Shazeer 2020). In gu the gate is at
// column 0 and up at column up_offset. width is a multiple of 16. Work-item (32 columns, t).
kernel IN_VECTORS void swiglu(global float *y, uint y_stride, const global float *gu, uint gu_stride, uint up_offset, uint width)
{
	uint b = get_global_id(0), i = b * 32;
	size_t t = get_global_id(1);
	const global float *gate = gu + t * gu_stride + i;
	float16 lo = 0.0f, hi = 0.0f;
	if (i < width)
		lo = swiglu16(gate, up_offset);
	if (i + 16 < width)
		hi = swiglu16(gate + 16, up_offset);
	store_block(y, t, y_stride, b, lo, hi);
}

// y[t][y_offset + i] += b[b_offset + i]. Work-item (16 columns, t).
kernel IN_VECTORS void add_bias(global float *y, uint stride, uint y_offset, const global float *b, uint b_offset)
{
	size_t i = get_global_id(0) * 16, t = get_global_id(1);
	global float *yt = y + t * stride + y_offset + i;
	vstore16(vload16(0, yt) + vload16(0, b + b_offset + i), 0, yt);
}
