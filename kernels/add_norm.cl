// add_norm.cl - the sum of the ranks' partial sums and the norm that comes next.
#include "sum_norm.cl"

// Work-group t: row t.
kernel IN_VECTORS __attribute__((reqd_work_group_size(NORM_ITEMS, 1, 1))) void add_norm(SUM, NORM_OF_SUM)
{
	local float part[NORM_ITEMS];
	add_norm_row(SUM_ARGS, NORM_OF_SUM_ARGS, get_group_id(0), part);
}
