// gelu.cl - the nonlinearity of GPT-2's feed-forward network. Parameter: STORE.
#include "common.cl"
#include STORE

INLINE floats gelu_columns(floats v)
{
	floats s = 1.5957691216057308f * v * fma(0.044715f * v, v, (floats)1.0f); // 2 s
	return v / (1.0f + exp(-s));
}

// y[t][i] = gelu(x[t][i]) for i < width, and 0 up to y_stride. This is the form with tanh that GPT-2 has (Hendrycks &
// Gimpel 2016):
// x / 2 (1 + tanh(s)) = x / (1 + exp(-2 s)) with s = sqrt(2 / pi) (x + 0.044715 x^3). width is a multiple of 16.
// Work-item (32 columns, t); with scalars (column, t).
#if LANES == 16
kernel IN_VECTORS void gelu(global float *y, uint y_stride, const global float *x, uint x_stride, uint width)
{
	uint b = get_global_id(0), i = b * 32;
	size_t t = get_global_id(1);
	const global float *xt = x + t * x_stride + i;
	float16 lo = 0.0f, hi = 0.0f;
	if (i < width)
		lo = gelu_columns(vload16(0, xt));
	if (i + 16 < width)
		hi = gelu_columns(vload16(1, xt));
	store_block(y, t, y_stride, b, lo, hi);
}
#else
kernel __attribute__((reqd_work_group_size(EVN_LANE_ITEMS, 1, 1)))
void gelu(global float *y, uint y_stride, const global float *x, uint x_stride, uint width)
{
	local float4 part[EVN_LANE_ITEMS / 4];
	uint i = get_global_id(0);
	size_t t = get_global_id(1);
	store_lane(y, t, y_stride, i, i < width ? gelu_columns(x[t * x_stride + i]) : 0.0f, part);
}
#endif
