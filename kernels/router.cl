// router.cl - the router of a mixture of experts: a score for each expert, and the k experts of a row (Shazeer et al. 2017).
// Every rank computes it. The ranks share the work inside each expert, so they must agree on the experts to the bit,
// whatever their drivers. Scores therefore need only products, sums and fma, which all drivers round alike, in a fixed
// order, and no product is added by an operation of its own, which a compiler might fuse.
#include "common.cl"

#ifndef ITEMS
#define ITEMS 1 // work-items that choose for a row
#endif
#define SLICES (EVN_LANE_ITEMS / EVN_TILE_ROWS) // sums of columns that are added in their order, with vectors too

// 1 / sqrt(v) by Newton's method. v is normal.
INLINE float exact_rsqrt(float v)
{
	float y = as_float(0x5f3759df - (as_int(v) >> 1));
	for (uint i = 0; i < 4; i++)
		y *= fma(-0.5f * v * y, y, 1.5f);
	return y;
}

// The score of a normed row: the norm's factor is the same in all columns.
INLINE floats score_of(floats sum, float squares, float inverse_dim, float eps, floats bias)
{
	return fma(sum, (floats)exact_rsqrt(fma(squares, inverse_dim, eps)), bias);
}

// scores[row][e] = W[e] . n + bias[e], where n is the RMS norm of x[row] with these weights. W is in tiles of 16 rows of f32.
// Work-group (tile, row).
#if LANES == 16
kernel IN_VECTORS __attribute__((reqd_work_group_size(1, 1, 1)))
void route(global float *scores, uint stride, const global float *x, uint x_stride, const global float *norm,
           const global float *w, const global float *bias, float inverse_dim, float eps)
{
	const uint tile = get_group_id(0);
	const size_t row = get_group_id(1);
	const global float *columns = w + (size_t)tile * x_stride * EVN_TILE_ROWS, *xs = x + row * x_stride;
	float16 sums[SLICES], sum = 0.0f;
	float squares[SLICES], square = 0.0f;
#pragma unroll
	for (uint s = 0; s < SLICES; s++) {
		sums[s] = 0.0f;
		squares[s] = 0.0f;
	}
	for (uint i = 0; i < x_stride; i += SLICES) {
#pragma unroll
		for (uint s = 0; s < SLICES; s++) {
			sums[s] = fma(vload16(i + s, columns), (float16)(xs[i + s] * norm[i + s]), sums[s]);
			squares[s] = fma(xs[i + s], xs[i + s], squares[s]);
		}
	}
#pragma unroll
	for (uint s = 0; s < SLICES; s++) {
		sum += sums[s];
		square += squares[s];
	}
	vstore16(score_of(sum, square, inverse_dim, eps, vload16(tile, bias)), 0, scores + row * stride + tile * EVN_TILE_ROWS);
}
#else
kernel __attribute__((reqd_work_group_size(EVN_LANE_ITEMS, 1, 1)))
void route(global float *scores, uint stride, const global float *x, uint x_stride, const global float *norm,
           const global float *w, const global float *bias, float inverse_dim, float eps)
{
	local float sums[SLICES][EVN_TILE_ROWS], squares[SLICES][EVN_TILE_ROWS];
	const uint tile = get_group_id(0), slice = get_local_id(0) / EVN_TILE_ROWS, lane = TILE_ROW;
	const size_t row = get_group_id(1);
	const global float *columns = w + (size_t)tile * x_stride * EVN_TILE_ROWS, *xs = x + row * x_stride;
	float sum = 0.0f, square = 0.0f;
	for (uint i = slice; i < x_stride; i += SLICES) {
		sum = fma(columns[i * EVN_TILE_ROWS + lane], xs[i] * norm[i], sum);
		square = fma(xs[i], xs[i], square);
	}
	sums[slice][lane] = sum;
	squares[slice][lane] = square;
	barrier(CLK_LOCAL_MEM_FENCE);
	sum = square = 0.0f;
#pragma unroll
	for (uint s = 0; s < SLICES; s++) {
		sum += sums[s][lane];
		square += squares[s][lane];
	}
	// all slices store the same, see lanes/matvec.cl
	scores[row * stride + tile * EVN_TILE_ROWS + lane] =
		score_of(sum, square, inverse_dim, eps, bias[tile * EVN_TILE_ROWS + lane]);
}
#endif

// For a work-item's experts among the n of a row: its place is the number of experts with larger scores; of equal ones the
// first is first. An expert with a place below k is chosen: experts[row][place], with its probability among all n, or with the
// logistic function of its score.
// places[row][place] = row * k + place: the pairs of rows and experts in their order. Work-group (row).
kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1)))
void choose(const global float *scores, uint stride, uint2 of, uint sigmoid, global uint *experts, global float *weights, global uint *places)
{
	const uint n = of.x, k = of.y;
	const size_t row = get_group_id(0);
	const global float *s = scores + row * stride;
	float most = s[0], sum = 0.0f;
	for (uint i = 1; i < n; i++)
		most = fmax(most, s[i]);
	for (uint i = 0; i < n; i++)
		sum += exp(s[i] - most);
	for (uint e = get_local_id(0); e < n; e += ITEMS) {
		const float score = s[e];
		uint place = 0;
		for (uint i = 0; i < n; i++)
			place += s[i] > score || (s[i] == score && i < e);
		if (place < k) {
			experts[row * k + place] = e;
			weights[row * k + place] = sigmoid ? 1.0f / (1.0f + exp(-score)) : exp(score - most) / sum;
			places[row * k + place] = row * k + place;
		}
	}
}
