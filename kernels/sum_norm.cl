// sum_norm.cl - a row of the sum over ranks and the norm that follows. Parameters: NORM, those of sum.cl and norm.cl;
// POST_NORM if the sum of messages has an RMSNorm of its own before it is added to x.
#include "sum.cl"
#include NORM

#ifdef POST_NORM
#define POST , const global float *post // (stride) its weights
#define POST_ARG , post

// x = scale.x times x + scale.y times the norm of the sum of messages, in row t. The sums are computed twice, which gives the same bits.
INLINE void add_row(SUM, uint2 row, float eps, const global float *post, size_t t, local float4 *part)
{
	uint stride = row.x;
	floats squares = 0.0f;
#if LANES == 16
	for (uint b = 0; b < stride / 16; b++) {
		float16 v = sum_columns(messages, of, t * (stride / 16) + b);
		squares = fma(v, v, squares);
	}
	float factor = scale.y / sqrt(sum16(squares) / (float)row.y + eps);
	for (uint b = 0; b < stride / 16; b++) {
		size_t i = t * (stride / 16) + b;
		vstore16(fma(sum_columns(messages, of, i) * factor, vload16(b, post), kept_of(vload16(i, x), scale)), i, x);
	}
#else
	for (uint i = get_local_id(0); i < stride; i += NORM_ITEMS) {
		float v = sum_columns(messages, of, t * stride + i);
		squares = fma(v, v, squares);
	}
	float factor = scale.y / sqrt(sum_items(squares, NORM_ITEMS, (local float *)part) / (float)row.y + eps);
	for (uint i = get_local_id(0); i < stride; i += NORM_ITEMS) {
		size_t at = t * stride + i;
		x[at] = fma(sum_columns(messages, of, at) * factor, post[i], kept_of(x[at], scale));
	}
#endif
}
#else
#define POST
#define POST_ARG

INLINE void add_row(SUM, uint2 row, float eps, size_t t, local float4 *part)
{
	uint stride = row.x;
#if LANES == 16
	for (uint b = 0; b < stride / 32; b++) {
		size_t i = t * (stride / 16) + 2 * b;
		add_columns(SUM_ARGS, i);
		add_columns(SUM_ARGS, i + 1);
	}
#else
	for (uint i = get_local_id(0); i < stride; i += NORM_ITEMS)
		add_columns(SUM_ARGS, t * stride + i);
#endif
}
#endif

// Computes row t of the sum, and its norm as row t of y.
INLINE void add_norm_row(SUM, NORMED POST, size_t t, local float4 *part)
{
	add_row(SUM_ARGS, row, eps POST_ARG, t, part);
	norm_row(NORMED_ARGS, t, x + t * row.x, part);
}
