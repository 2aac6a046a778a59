// layer_inputs.cl - rows of which the host sends more than the embedding. The inputs of each layer by the token (Gemma 4 E) are
// rows of a second embedding, to which a projection of the first one is added; they multiply what a small network of the layer
// computes. Patches of an image are multiplied by a matrix and added to the rows of their positions. Parameter: STORE.
#include "common.cl"
#include STORE

// x[t] (stride) = rows[t] (at.x floats) from column at.y on. Work-item (LANES columns, t).
kernel IN_VECTORS void take_rows(global float *x, uint stride, const global float *rows, uint2 at)
{
	const size_t column = get_global_id(0), t = get_global_id(1);
	store_columns(load_columns(rows + t * at.x + at.y, column), column, x + t * stride);
}

// x[t] (stride) += the beginning of from[t] (from_stride). Work-item (LANES columns, t).
kernel IN_VECTORS void add_rows(global float *x, uint stride, const global float *from, uint from_stride)
{
	const size_t column = get_global_id(0), t = get_global_id(1);
	global float *to = x + t * stride;
	store_columns(load_columns(to, column) + load_columns(from + t * from_stride, column), column, to);
}

// The n entries of layer l of rows[t], from column at.y + l * n on, become the mean of themselves and the RMS norm of as many
// projected ones, times sqrt 2. at.x: from one row to the next. Work-item (l, t).
kernel void add_projected(global float *rows, uint2 at, const global float *projected, uint stride, const global float *w,
                          uint n, float eps)
{
	const size_t layer = get_global_id(0), t = get_global_id(1);
	global float *to = rows + t * at.x + at.y + layer * n;
	const global float *v = projected + t * stride + layer * n;
	float squares = 0.0f;
	for (uint i = 0; i < n; i++)
		squares = fma(v[i], v[i], squares);
	const float factor = 1.0f / sqrt(squares / (float)n + eps);
	for (uint i = 0; i < n; i++)
		to[i] = (to[i] + v[i] * factor * w[i]) * 0.70710678f;
}

// y[t][i] = gelu(x[t][i]) * rows[t][i] for i < width, and 0 up to y_stride. width is a multiple of 16. Columns of x that are no
// units are zeros. Work-item (32 columns, t); with scalars (column, t).
#if LANES == 16
kernel IN_VECTORS void gate_by_layer(global float *y, uint y_stride, const global float *x, uint x_stride, uint width,
                                     const global float *rows, uint2 at)
{
	const uint b = get_global_id(0), i = b * 32;
	const size_t t = get_global_id(1);
	const global float *xt = x + t * x_stride + i, *by = rows + t * at.x + at.y + i;
	float16 lo = 0.0f, hi = 0.0f;
	if (i < width)
		lo = gelu_tanh(vload16(0, xt)) * vload16(0, by);
	if (i + 16 < width)
		hi = gelu_tanh(vload16(1, xt)) * vload16(1, by);
	store_block(y, t, y_stride, b, lo, hi);
}
#else
kernel __attribute__((reqd_work_group_size(EVN_LANE_ITEMS, 1, 1)))
void gate_by_layer(global float *y, uint y_stride, const global float *x, uint x_stride, uint width, const global float *rows,
                   uint2 at)
{
	local float4 part[EVN_LANE_ITEMS / 4];
	const uint i = get_global_id(0);
	const size_t t = get_global_id(1);
	store_lane(y, t, y_stride, i, i < width ? gelu_tanh(x[t * x_stride + i]) * rows[t * at.x + at.y + i] : 0.0f, part);
}
#endif
