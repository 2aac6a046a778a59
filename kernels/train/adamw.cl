// adamw.cl - the optimizer's work on one parameter buffer (Loshchilov & Hutter 2019), and the norm that clipping needs.
#include "common.cl"

// One step on the gradient times g_scale; unbias1 = 1 / (1 - beta1^step), unbias2 likewise. Work-item: 16 values.
kernel IN_VECTORS void adamw(global float *w, global float *m, global float *v, const global float *g, float g_scale, float rate,
                             float beta1, float beta2, float eps, float decay, float unbias1, float unbias2, uint n_items)
{
	size_t i = flat_id();
	if (i >= n_items)
		return;
	float16 d = vload16(i, g) * g_scale;
	float16 m1 = fma(d - vload16(i, m), (float16)(1.0f - beta1), vload16(i, m));
	float16 v1 = fma(d * d - vload16(i, v), (float16)(1.0f - beta2), vload16(i, v));
	float16 old = vload16(i, w);
	vstore16(m1, i, m);
	vstore16(v1, i, v);
	vstore16(old - rate * (m1 * unbias1 / (sqrt(v1 * unbias2) + eps) + decay * old), i, w);
}

// sums[k] = sum of the squares of values [k EVN_SQUARES_PIECE, (k + 1) EVN_SQUARES_PIECE) of g. Work-item k.
kernel IN_VECTORS void sum_squares(global float *sums, const global float *g, uint n)
{
	uint k = get_global_id(0), end = min(n, (k + 1) * EVN_SQUARES_PIECE);
	float16 sum = 0.0f;
	for (uint i = k * EVN_SQUARES_PIECE; i < end; i += 16) {
		float16 v = vload16(0, g + i);
		sum = fma(v, v, sum);
	}
	sums[k] = sum16(sum);
}
