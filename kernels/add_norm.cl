// add_norm.cl - adds the ranks' partial sums and computes the norm that follows.
#include "sum_norm.cl"

// Work-group t computes row t.
kernel IN_VECTORS __attribute__((reqd_work_group_size(NORM_ITEMS, 1, 1))) void add_norm(SUM, NORMED POST)
{
	local float4 part[NORM_PART];
	add_norm_row(SUM_ARGS, NORMED_ARGS POST_ARG, get_group_id(0), part);
}
