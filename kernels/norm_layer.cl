// norm_layer.cl - LayerNorm: (x - mean) / sqrt(variance + eps) * w + bias, both over the dim true columns (Ba et al.
// 2016). The mean is subtracted before squaring: the squares of values far from zero would cancel.
// REPLACES: the row becomes its norm, too.
#include "norm.cl"

#ifdef REPLACES
#define REPLACE(x, i, v) store_columns(v, i, (global float *)(x))
#else
#define REPLACE(x, i, v)
#endif

#if LANES == 16
// 1 for columns below dim, otherwise 0. i is the first of 16 columns.
INLINE float16 true_columns(uint i, uint dim)
{
	int16 columns = (int16)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15) + (int)i;
	return select((float16)0.0f, (float16)1.0f, columns < (int16)(int)dim);
}
#endif

// Row t of y = the norm of row x of `stride` columns. The columns of x, w and bias from dim on are zeros.
INLINE void norm_row(NORMED, size_t t, const global float *x, local float4 *part)
{
	uint stride = row.x, dim = row.y;
	floats sum = 0.0f, squares = 0.0f;
#if LANES == 16
	for (uint b = 0; b < stride / 32; b++)
		sum += vload16(2 * b, x) + vload16(2 * b + 1, x);
	float mean = sum16(sum) / (float)dim;
	for (uint b = 0; b < stride / 32; b++) {
		float16 lo = (vload16(2 * b, x) - mean) * true_columns(32 * b, dim);
		float16 hi = (vload16(2 * b + 1, x) - mean) * true_columns(32 * b + 16, dim);
		squares = fma(lo, lo, fma(hi, hi, squares));
	}
	float scale = 1.0f / sqrt(sum16(squares) / (float)dim + eps);
	for (uint b = 0; b < stride / 32; b++) {
		float16 lo = (vload16(2 * b, x) - mean) * scale * vload16(2 * b, w) + vload16(2 * b, bias);
		float16 hi = (vload16(2 * b + 1, x) - mean) * scale * vload16(2 * b + 1, w) + vload16(2 * b + 1, bias);
		REPLACE(x, 2 * b, lo);
		REPLACE(x, 2 * b + 1, hi);
		store_block(y, t, stride, b, lo, hi);
	}
#else
	for (uint i = get_local_id(0); i < dim; i += NORM_ITEMS)
		sum += x[i];
	float mean = sum_items(sum, NORM_ITEMS, (local float *)part) / (float)dim;
	for (uint i = get_local_id(0); i < dim; i += NORM_ITEMS)
		squares = fma(x[i] - mean, x[i] - mean, squares);
	float scale = 1.0f / sqrt(sum_items(squares, NORM_ITEMS, (local float *)part) / (float)dim + eps);
	for (uint first = 0; first < stride; first += NORM_ITEMS) { // every item stores equally often
		uint i = first + get_local_id(0);
		float v = i < stride ? (x[i] - mean) * scale * w[i] + bias[i] : 0.0f;
		if (i < stride)
			REPLACE(x, i, v);
		store_lane(y, t, stride, i, v, part);
	}
#endif
}
