// backward.cl - the gradients of the operations on rows, and the token embedding, which is cut by vocabulary rows.
// Matrices are as in rowwise.cl. Gradients of weights are added to the existing ones.
#include "common.cl"

// dx[t] = the gradient of rmsnorm's input. dy is that of its output y = x scale w, and scale[t] = 1 / rms(x[t]):
//   dx = scale (w dy) - x scale^3 / dim sum(w dy x). Work-item t.
kernel IN_VECTORS void rmsnorm_backward(global float *dx, global float *scales, const global float *dy, const global float *x,
                                        const global float *w, uint stride, uint dim, float eps)
{
	size_t t = get_global_id(0);
	const global float *xt = x + t * stride, *dyt = dy + t * stride;
	float16 squares = 0.0f, dots = 0.0f;
	for (uint i = 0; i < stride; i += 16) {
		float16 v = vload16(0, xt + i);
		squares = fma(v, v, squares);
		dots = fma(v, vload16(0, dyt + i) * vload16(0, w + i), dots);
	}
	float scale = 1.0f / sqrt(sum16(squares) / (float)dim + eps);
	float back = sum16(dots) * scale * scale * scale / (float)dim;
	scales[t] = scale;
	for (uint i = 0; i < stride; i += 16)
		vstore16(vload16(0, dyt + i) * vload16(0, w + i) * scale - vload16(0, xt + i) * back, 0, dx + t * stride + i);
}

// dw[i] += the sum over tokens of dy[t][i] x[t][i] scale[t]. A work-item has 16 columns.
kernel IN_VECTORS void rmsnorm_weight_gradient(global float *dw, const global float *dy, const global float *x,
                                               const global float *scales, uint stride, uint n_tok)
{
	size_t i = get_global_id(0) * 16;
	float16 sum = 0.0f;
	for (uint t = 0; t < n_tok; t++)
		sum = fma(vload16(0, dy + (size_t)t * stride + i) * scales[t], vload16(0, x + (size_t)t * stride + i), sum);
	vstore16(vload16(0, dw + i) + sum, 0, dw + i);
}

// The gradients of gate and up from that of y = silu(gate) up. Columns as in swiglu. Work-item (16 columns, t).
kernel IN_VECTORS void swiglu_backward(global float *dgu, const global float *gu, uint gu_stride, uint up_offset,
                                       const global float *dy, uint y_stride)
{
	size_t i = get_global_id(0) * 16, t = get_global_id(1);
	size_t at = t * gu_stride + i;
	float16 gate = vload16(0, gu + at), up = vload16(0, gu + at + up_offset), d = vload16(0, dy + t * y_stride + i);
	float16 sigmoid = 1.0f / (1.0f + exp(-gate));
	vstore16(d * up * sigmoid * (1.0f + gate * (1.0f - sigmoid)), 0, dgu + at);
	vstore16(d * gate * sigmoid, 0, dgu + at + up_offset);
}

// db[i] += the sum over tokens of dy[t][i], i < width: the gradient of a bias. A work-item has 16 columns. Beyond
// width dy can hold another layer's columns.
kernel IN_VECTORS void bias_gradient(global float *db, const global float *dy, uint stride, uint width, uint n_tok)
{
	uint i = get_global_id(0) * 16;
	float16 sum = 0.0f;
	float lanes[16];
	for (uint t = 0; t < n_tok; t++)
		sum += vload16(0, dy + (size_t)t * stride + i);
	vstore16(sum, 0, lanes);
	for (uint k = 0; k < 16 && i + k < width; k++)
		db[i + k] += lanes[k];
}

// x[t] = row ids[t] of the embedding if this rank holds it (rows first .. first + n), otherwise zeros. Work-item (16
// columns, t).
kernel IN_VECTORS void embed(global float *x, const global float *table, const global uint *ids, uint stride, uint first, uint n)
{
	size_t i = get_global_id(0) * 16, t = get_global_id(1);
	uint row = ids[t] - first; // wraps if ids[t] < first
	vstore16(row < n ? vload16(0, table + (size_t)row * stride + i) : 0.0f, 0, x + t * stride + i);
}

// table[row] += the sum of dx over the tokens with this id: order[starts[row] .. starts[row + 1]]. Work-item (16
// columns, row).
kernel IN_VECTORS void embed_backward(global float *dtable, const global float *dx, const global uint *starts,
                                      const global uint *order, uint stride)
{
	size_t i = get_global_id(0) * 16, row = get_global_id(1);
	uint end = starts[row + 1];
	if (starts[row] == end)
		return;
	float16 sum = vload16(0, dtable + row * stride + i);
	for (uint k = starts[row]; k < end; k++)
		sum += vload16(0, dx + (size_t)order[k] * stride + i);
	vstore16(sum, 0, dtable + row * stride + i);
}
