// norm_rows.cl - norms of rows, without a sum before them. Parameters: NORM, those of norm.cl.
#include "common.cl"
#include NORM

// y[t] = the norm of x[first + t]. Work-group t.
kernel IN_VECTORS __attribute__((reqd_work_group_size(NORM_ITEMS, 1, 1)))
void norm_rows(const global float *x, uint first, NORMED)
{
	local float4 part[NORM_PART];
	size_t t = get_group_id(0);
	norm_row(NORMED_ARGS, t, x + (first + t) * row.x, part);
}
