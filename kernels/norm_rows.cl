// norm_rows.cl - norms of rows, without a sum before them. Parameters: NORM, those of norm.cl.
#include "common.cl"
#include NORM

// y[t] = the norm of x[first + t]. Work-group t.
kernel IN_VECTORS __attribute__((reqd_work_group_size(NORM_ITEMS, 1, 1)))
void norm_rows(const global float *x, uint first, global float *y, const global float *w, const global float *bias, uint stride,
               uint dim, float eps)
{
	local float part[NORM_ITEMS];
	size_t t = get_group_id(0);
	norm_row(y, t, x + (first + t) * stride, w, bias, stride, dim, eps, part);
}
