// sum_norm.cl - a row of the sum over ranks and the norm that follows. Parameters: NORM, those of sum.cl and norm.cl.
#include "sum.cl"
#include NORM

#define NORM_OF_SUM global float *y, const global float *w, const global float *bias, uint stride, uint dim, float eps
#define NORM_OF_SUM_ARGS y, w, bias, stride, dim, eps

// Computes row t of the sum, and its norm as row t of y.
INLINE void add_norm_row(SUM, NORM_OF_SUM, size_t t, local float *part)
{
	for (uint b = get_local_id(0); b < stride / 32; b += NORM_ITEMS) {
		size_t i = t * (stride / 16) + 2 * b;
		add_vector(SUM_ARGS, i);
		add_vector(SUM_ARGS, i + 1);
	}
	norm_row(y, t, x + t * stride, w, bias, stride, dim, eps, part);
}
