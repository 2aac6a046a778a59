// gelu.cl - the nonlinearity of GPT-2's feed-forward network. Parameter: STORE.
#include "common.cl"
#include STORE

INLINE float16 gelu16(float16 v)
{
	float16 s = 1.5957691216057308f * v * fma(0.044715f * v, v, (float16)1.0f); // 2 s
	return v / (1.0f + exp(-s));
}

// y[t][i] = gelu(x[t][i]) for i < width, and 0 up to y_stride. This is the form with tanh that GPT-2 has (Hendrycks &
// Gimpel 2016):
// x / 2 (1 + tanh(s)) = x / (1 + exp(-2 s)) with s = sqrt(2 / pi) (x + 0.044715 x^3). width is a multiple of 16.
// Work-item (32 columns, t).
kernel IN_VECTORS void gelu(global float *y, uint y_stride, const global float *x, uint x_stride, uint width)
{
	uint b = get_global_id(0), i = b * 32;
	size_t t = get_global_id(1);
	const global float *xt = x + t * x_stride + i;
	float16 lo = 0.0f, hi = 0.0f;
	if (i < width)
		lo = gelu16(vload16(0, xt));
	if (i + 16 < width)
		hi = gelu16(vload16(1, xt));
	store_block(y, t, y_stride, b, lo, hi);
}
