// sum_norm.cl - a row's sum of the ranks' partial results, and the norm that comes next. Parameters: NORM, those of sum.cl
// and norm.cl.
#include "sum.cl"
#include NORM

// Row t of x += partials, and row t of y = its norm.
INLINE void add_norm_row(global float *y, size_t t, global float *x, const global uchar *const *p, uint n, const global float *w,
                         const global float *bias, uint stride, uint dim, float eps, local float *part)
{
	for (uint b = get_local_id(0); b < stride / 32; b += NORM_ITEMS) {
		size_t i = t * (stride / 16) + 2 * b;
		add_vector(x, i, p, n);
		add_vector(x, i + 1, p, n);
	}
	norm_row(y, t, x + t * stride, w, bias, stride, dim, eps, part);
}
