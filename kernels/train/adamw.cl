// adamw.cl - the AdamW optimizer on one parameter buffer (Loshchilov & Hutter 2019), and the norm that clipping
// needs.
#include "common.cl"
#include "train/arguments.h"

// One step of the optimizer. A work-item updates 16 values.
kernel IN_VECTORS void adamw(global float *w, global float *m, global float *v, const global float *g, evn_adamw a, uint n_items)
{
	size_t i = flat_id();
	if (i >= n_items)
		return;
	float16 d = vload16(i, g) * a.gradient_scale;
	float16 m1 = fma(d - vload16(i, m), (float16)(1.0f - a.beta1), vload16(i, m));
	float16 v1 = fma(d * d - vload16(i, v), (float16)(1.0f - a.beta2), vload16(i, v));
	float16 old = vload16(i, w);
	vstore16(m1, i, m);
	vstore16(v1, i, v);
	vstore16(old - a.rate * (m1 * a.unbias1 / (sqrt(v1 * a.unbias2) + a.eps) + a.decay * old), i, w);
}

// sums[k] = the sum of the squares of values [k EVN_SQUARES_PIECE, (k + 1) EVN_SQUARES_PIECE) of g. Work-item k.
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
