// add_partials.cl - adds the ranks' partial sums.
#include "sum.cl"

// A work-item adds LANES columns.
kernel IN_VECTORS void add_partials(SUM, uint n_items)
{
	if (flat_id() < n_items)
		add_columns(SUM_ARGS, flat_id());
}
