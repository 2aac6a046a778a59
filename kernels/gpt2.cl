// gpt2.cl - LayerNorm and GELU over the rows of an activation matrix (n_tok, stride). Strides are multiples of 32 and the
// columns from the true width to the stride are zeros.
#ifndef NORM_ITEMS
#define NORM_ITEMS 1 // work-items that share a row; a power of two
#endif

// Of all items of the group, to all of them.
inline float sum_row(float mine, local float *part)
{
#if NORM_ITEMS > 1
	uint item = get_local_id(0);
	barrier(CLK_LOCAL_MEM_FENCE); // an earlier sum may still be read
	part[item] = mine;
	for (uint half_way = NORM_ITEMS / 2; half_way > 0; half_way /= 2) {
		barrier(CLK_LOCAL_MEM_FENCE);
		if (item < half_way)
			part[item] += part[item + half_way];
	}
	barrier(CLK_LOCAL_MEM_FENCE);
	return part[0];
#else
	return mine;
#endif
}

// 1 for columns below dim, 0 from there on; i is the first of the sixteen.
inline float16 true_columns(uint i, uint dim)
{
	int16 columns = (int16)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15) + (int)i;
	return select((float16)0.0f, (float16)1.0f, columns < (int16)(int)dim);
}

// y[t] = (x - mean) / sqrt(variance + eps) * w + b of row first + t, both over the dim true columns (Ba et al. 2016). The
// mean is taken first: squares of what is far from zero would cancel. Work-group t.
kernel IN_VECTORS __attribute__((reqd_work_group_size(NORM_ITEMS, 1, 1)))
void layernorm(global float *y, const global float *x, uint first, const global float *w, const global float *b, uint stride,
               uint dim, float eps)
{
	local float part[NORM_ITEMS];
	size_t t = get_group_id(0);
	uint begin = get_local_id(0) * 16;
	const global float *xt = x + (first + t) * stride;
	float16 sum = 0.0f, squares = 0.0f;
	for (uint i = begin; i < stride; i += NORM_ITEMS * 16)
		sum += vload16(0, xt + i);
	float mean = sum_row(sum16(sum), part) / (float)dim;
	for (uint i = begin; i < stride; i += NORM_ITEMS * 16) {
		float16 v = (vload16(0, xt + i) - mean) * true_columns(i, dim);
		squares = fma(v, v, squares);
	}
	float scale = 1.0f / sqrt(sum_row(sum16(squares), part) / (float)dim + eps);
	for (uint i = begin; i < stride; i += NORM_ITEMS * 16) // w and b are zeros from dim on
		vstore16((vload16(0, xt + i) - mean) * scale * vload16(0, w + i) + vload16(0, b + i), 0, y + t * stride + i);
}

// y[t][i] = gelu(x[t][i]) for i < width, 0 up to y_stride (Hendrycks & Gimpel 2016, in the form with tanh that GPT-2 has):
// x / 2 (1 + tanh(s)) = x / (1 + exp(-2 s)) with s = sqrt(2 / pi) (x + 0.044715 x^3). Work-item (16 columns, t).
kernel IN_VECTORS void gelu(global float *y, uint y_stride, const global float *x, uint x_stride, uint width)
{
	size_t i = get_global_id(0) * 16, t = get_global_id(1);
	float16 v = 0.0f;
	if (i < width) {
		v = vload16(0, x + t * x_stride + i);
		float16 s = 1.5957691216057308f * v * fma(0.044715f * v, v, (float16)1.0f); // 2 s
		v = v / (1.0f + exp(-s));
	}
	vstore16(v, 0, y + t * y_stride + i);
}
