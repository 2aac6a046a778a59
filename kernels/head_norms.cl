// head_norms.cl - RMSNorm of the queries, and of the keys, of all heads of a model together, in two steps: between them the
// ranks add their squares. A work-group has a row; with vectors it is one item. Parameter: NORM_ITEMS.
#include "common.cl"
#include "lanes/sum_items.cl"

#ifndef NORM_ITEMS
#define NORM_ITEMS 1
#endif
#define WIDTH 32 // floats of a row of sums

INLINE float squares_of(const global float *x, uint n, local float *part)
{
	float sum = 0.0f;
#if LANES == 16
	float16 squares = 0.0f;
	for (uint i = 0; i < n / 16; i++)
		squares = fma(vload16(i, x), vload16(i, x), squares);
	for (uint i = n / 16 * 16; i < n; i++)
		sum = fma(x[i], x[i], sum);
	return sum + sum16(squares);
#else
	for (uint i = get_local_id(0); i < n; i += NORM_ITEMS)
		sum = fma(x[i], x[i], sum);
	return sum_items(sum, NORM_ITEMS, part);
#endif
}

// The sum of squares of columns [at.x, at.x + at.y) of a row of qkv goes to column 0 of its sums, that of columns
// [at.z, at.z + at.w) to column 1; the others become zeros.
kernel IN_VECTORS __attribute__((reqd_work_group_size(NORM_ITEMS, 1, 1)))
void head_squares(const global float *qkv, uint stride, uint4 at, global float *sums)
{
	local float part[NORM_ITEMS];
	const global float *row = qkv + get_group_id(0) * stride;
	const float q = squares_of(row + at.x, at.y, part), k = squares_of(row + at.z, at.w, part);
	for (uint i = get_local_id(0); i < WIDTH; i += NORM_ITEMS)
		sums[get_group_id(0) * WIDTH + i] = i == 0 ? q : i == 1 ? k : 0.0f;
}

INLINE void multiply(global float *x, uint n, const global float *w, float factor)
{
	for (uint i = get_local_id(0); i < n; i += NORM_ITEMS)
		x[i] *= factor * w[i];
}

// Multiplies the same columns by w / rms. w: the entries of `weights` from first.x on, and from first.y on. The sums are of
// elements.x and elements.y values.
kernel IN_VECTORS __attribute__((reqd_work_group_size(NORM_ITEMS, 1, 1)))
void head_norms(global float *qkv, uint stride, uint4 at, const global float *sums, const global float *weights, uint2 first,
                uint2 elements, float eps)
{
	global float *row = qkv + get_group_id(0) * stride;
	const global float *sum = sums + get_group_id(0) * WIDTH;
	multiply(row + at.x, at.y, weights + first.x, 1.0f / sqrt(sum[0] / (float)elements.x + eps));
	multiply(row + at.z, at.w, weights + first.y, 1.0f / sqrt(sum[1] / (float)elements.y + eps));
}
