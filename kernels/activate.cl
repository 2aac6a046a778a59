// activate.cl - the nonlinearity of feed-forward networks without a gate: GELU by tanh. Parameters: STORE; EXACT if GELU is by
// erf; RELU for max(x, 0).
#include "common.cl"
#include STORE

#ifdef EXACT
// x / 2 (1 + erf(x / sqrt 2)). The sum would cancel for negative x.
INLINE floats activated(floats x) { return 0.5f * x * erfc(x * -0.70710678f); }
#elif defined(RELU)
INLINE floats activated(floats x) { return fmax(x, (floats)0.0f); }
#else
#define activated gelu_tanh
#endif

// y[t][i] = f(x[t][i]) for i < width, and 0 up to y_stride. width is a multiple of 16.
// Work-item (32 columns, t); with scalars (column, t).
#if LANES == 16
kernel IN_VECTORS void activate(global float *y, uint y_stride, const global float *x, uint x_stride, uint width)
{
	uint b = get_global_id(0), i = b * 32;
	size_t t = get_global_id(1);
	const global float *xt = x + t * x_stride + i;
	float16 lo = 0.0f, hi = 0.0f;
	if (i < width)
		lo = activated(vload16(0, xt));
	if (i + 16 < width)
		hi = activated(vload16(1, xt));
	store_block(y, t, y_stride, b, lo, hi);
}
#else
kernel __attribute__((reqd_work_group_size(EVN_LANE_ITEMS, 1, 1)))
void activate(global float *y, uint y_stride, const global float *x, uint x_stride, uint width)
{
	local float4 part[EVN_LANE_ITEMS / 4];
	uint i = get_global_id(0);
	size_t t = get_global_id(1);
	store_lane(y, t, y_stride, i, i < width ? activated(x[t * x_stride + i]) : 0.0f, part);
}
#endif
