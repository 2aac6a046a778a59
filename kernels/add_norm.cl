// add_norm.cl - the sum of the ranks' partial results and the norm that comes next.
#include "sum_norm.cl"

// Work-group t: row t of x += p0 + p1 + ..., and y[t] = norm of x[t].
kernel IN_VECTORS __attribute__((reqd_work_group_size(NORM_ITEMS, 1, 1)))
void add_norm(global float *x, uint n, PARTIALS, global float *y, const global float *w, const global float *bias, uint stride,
              uint dim, float eps)
{
	local float part[NORM_ITEMS];
	const global uchar *p[] = PARTIALS_LIST;
	add_norm_row(y, get_group_id(0), x, p, n, w, bias, stride, dim, eps, part);
}
