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

// e^x for -80 <= x <= 0 (the polynomial of Cephes).
INLINE float exact_exp(float x)
{
	const float shifted = fma(x, 1.44269504f, 12582912.0f); // its lowest bits are the nearest integer
	const int n = as_int(shifted) - 0x4b400000;
	const float whole = (float)n, r = fma(whole, 2.12194440e-4f, fma(whole, -0.693359375f, x));
	float p = fma(1.9875691500e-4f, r, 1.3981999507e-3f);
	p = fma(p, r, 8.3334519073e-3f);
	p = fma(p, r, 4.1665795894e-2f);
	p = fma(p, r, 1.6666665459e-1f);
	p = fma(p, r, 5.0000001201e-1f);
	return as_float(as_int(fma(p, r * r, r) + 1.0f) + (n << 23));
}

// The logistic function of a score, and a bias.
INLINE float biased_logistic(float score, float bias)
{
	const float t = exact_exp(-fmin(fabs(score), 80.0f)), v = t + 1.0f;
	float y = fma(-0.5f, v, 1.457f); // 1 / v by Newton's method
	for (uint i = 0; i < 4; i++)
		y = fma(y, fma(-v, y, 1.0f), y);
	return fma(score < 0.0f ? t : 1.0f, y, bias);
}

// ranks[row][e]: by what experts are chosen where it is not the score alone. With biases it is the logistic function of the
// score and the bias of the expert. Experts are in groups of equal size, of which a row uses some: those with the best
// expert or, with biases, with the largest sum of the two best (DeepSeek-AI 2024). The other groups' ranks are -infinity. of:
// experts, groups, groups of a row, whether there are biases. Work-group (row).
kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1)))
void rank_experts(global float *ranks, const global float *scores, uint stride, uint4 of, const global float *biases)
{
	local float best[EVN_EXPERT_GROUPS];
	const uint n = of.x, in_group = n / of.y;
	const size_t row = get_group_id(0);
	const global float *s = scores + row * stride;
	global float *r = ranks + row * stride;
	for (uint e = get_local_id(0); e < n; e += ITEMS)
		r[e] = of.w ? biased_logistic(s[e], biases[e]) : s[e];
	barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE);
	for (uint g = get_local_id(0); g < of.y; g += ITEMS) {
		float first = -INFINITY, second = -INFINITY;
		for (uint i = g * in_group; i < (g + 1) * in_group; i++) {
			second = fmax(second, fmin(first, r[i]));
			first = fmax(first, r[i]);
		}
		best[g] = of.w ? first + second : first;
	}
	barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE);
	for (uint e = get_local_id(0); e < n; e += ITEMS) {
		const uint g = e / in_group;
		uint place = 0;
		for (uint i = 0; i < of.y; i++)
			place += best[i] > best[g] || (best[i] == best[g] && i < g);
		if (place >= of.z)
			r[e] = -INFINITY;
	}
}

// For a work-item's experts among the n of a row: its place is the number of experts with larger ranks, which may be
// the scores; of equal ones the first is first. An expert with a place below k is chosen: experts[row][place], with its probability among all n, or with the
// logistic function of its score.
// places[row][place] = row * k + place: the pairs of rows and experts in their order. Work-group (row).
kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1)))
void choose(const global float *scores, const global float *ranks, uint stride, uint2 of, uint sigmoid, global uint *experts,
            global float *weights, global uint *places)
{
	const uint n = of.x, k = of.y;
	const size_t row = get_group_id(0);
	const global float *s = scores + row * stride, *r = ranks + row * stride;
	float most = s[0], sum = 0.0f;
	for (uint i = 1; i < n; i++)
		most = fmax(most, s[i]);
	for (uint i = 0; i < n; i++)
		sum += exp(s[i] - most);
	for (uint e = get_local_id(0); e < n; e += ITEMS) {
		const float score = s[e];
		uint place = 0;
		for (uint i = 0; i < n; i++)
			place += r[i] > r[e] || (r[i] == r[e] && i < e);
		if (place < k) {
			experts[row * k + place] = e;
			weights[row * k + place] = sigmoid ? 1.0f / (1.0f + exp(-score)) : exp(score - most) / sum;
			places[row * k + place] = row * k + place;
		}
	}
}
