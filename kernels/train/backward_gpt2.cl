// backward_gpt2.cl - the gradients of GPT-2's layers: LayerNorm and GELU, and the learned positions. Matrices are as
// in rowwise.cl. Gradients of weights are added to the existing ones.
#include "common.cl"

// 1 for columns below dim, otherwise 0. i is the first of 16 columns.
INLINE float16 columns_below(uint i, uint dim)
{
	int16 columns = (int16)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15) + (int)i;
	return select((float16)0.0f, (float16)1.0f, columns < (int16)(int)dim);
}

// dx[t] = the gradient of LayerNorm's input. dy is that of its output y = n w + bias with n = (x - mean) scale:
//   dx = scale (g - mean(g) - n mean(g n)) with g = w dy. moments[t] = (mean, scale). Work-item t.
kernel IN_VECTORS void layernorm_backward(global float *dx, global float2 *moments, const global float *dy,
                                          const global float *x, const global float *w, uint stride, uint dim, float eps)
{
	size_t t = get_global_id(0);
	const global float *xt = x + t * stride, *dyt = dy + t * stride;
	float16 sum = 0.0f, squares = 0.0f, sum_g = 0.0f, dots = 0.0f;
	for (uint i = 0; i < stride; i += 16)
		sum += vload16(0, xt + i);
	float mean = sum16(sum) / (float)dim;
	for (uint i = 0; i < stride; i += 16) {
		float16 v = (vload16(0, xt + i) - mean) * columns_below(i, dim), g = vload16(0, dyt + i) * vload16(0, w + i);
		squares = fma(v, v, squares);
		sum_g += g;
		dots = fma(v, g, dots);
	}
	float scale = 1.0f / sqrt(sum16(squares) / (float)dim + eps);
	float mean_g = sum16(sum_g) / (float)dim, back = sum16(dots) * scale * scale / (float)dim;
	moments[t] = (float2)(mean, scale);
	for (uint i = 0; i < stride; i += 16) {
		float16 v = vload16(0, xt + i) - mean, g = vload16(0, dyt + i) * vload16(0, w + i);
		vstore16((g - mean_g - v * back) * scale * columns_below(i, dim), 0, dx + t * stride + i);
	}
}

// dw[i] += the sum over tokens of dy[t][i] (x[t][i] - mean[t]) scale[t]. A work-item has 16 columns.
kernel IN_VECTORS void layernorm_weight_gradient(global float *dw, const global float *dy, const global float *x,
                                                 const global float2 *moments, uint stride, uint n_tok)
{
	size_t i = get_global_id(0) * 16;
	float16 sum = 0.0f;
	for (uint t = 0; t < n_tok; t++) {
		float2 m = moments[t];
		sum = fma(vload16(0, dy + (size_t)t * stride + i) * m.y, vload16(0, x + (size_t)t * stride + i) - m.x, sum);
	}
	vstore16(vload16(0, dw + i) + sum, 0, dw + i);
}

// The gradient of x from that of y = gelu(x) = x / (1 + exp(-2 s)), 2 s = c (x + 0.044715 x^3), as in activate.cl. With
// the sigmoid p of 2 s it is dy times p + x p (1 - p) c (1 + 3 0.044715 x^2). Work-item (16 columns, t).
kernel IN_VECTORS void gelu_backward(global float *dx, const global float *x, uint x_stride, const global float *dy,
                                     uint y_stride)
{
	const float c = 1.5957691216057308f;
	size_t i = get_global_id(0) * 16, t = get_global_id(1);
	float16 v = vload16(0, x + t * x_stride + i), cube = 0.044715f * v * v;
	float16 p = 1.0f / (1.0f + exp(-c * v * (1.0f + cube)));
	float16 slope = p + c * v * p * (1.0f - p) * (1.0f + 3.0f * cube);
	vstore16(vload16(0, dy + t * y_stride + i) * slope, 0, dx + t * x_stride + i);
}

// x[t] += the row of the token's position in its sequence, if this rank holds it (rows first .. first + n). Work-item
// (16 columns, t).
kernel IN_VECTORS void add_positions(global float *x, const global float *table, uint stride, uint first, uint n, uint n_ctx)
{
	size_t i = get_global_id(0) * 16, t = get_global_id(1);
	uint row = (uint)t % n_ctx - first; // wraps if the position is below first
	global float *xt = x + t * stride + i;
	if (row < n)
		vstore16(vload16(0, xt) + vload16(0, table + (size_t)row * stride + i), 0, xt);
}

// dtable[row] += the sum of dx over the tokens at position first + row of every sequence. Work-item (16 columns,
// row).
kernel IN_VECTORS void positions_backward(global float *dtable, const global float *dx, uint stride, uint first, uint n_ctx,
                                          uint n_tok)
{
	size_t i = get_global_id(0) * 16, row = get_global_id(1);
	float16 sum = vload16(0, dtable + row * stride + i);
	if (first + row >= n_ctx)
		return;
	for (uint t = first + (uint)row; t < n_tok; t += n_ctx)
		sum += vload16(0, dx + (size_t)t * stride + i);
	vstore16(sum, 0, dtable + row * stride + i);
}
