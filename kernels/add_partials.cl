// add_partials.cl - the sum of the ranks' partial results.
#include "sum.cl"

// x += p0 + p1 + .... Work-item: 16 columns.
kernel IN_VECTORS void add_partials(global float *x, uint n, PARTIALS, uint n_items)
{
	const global uchar *p[] = PARTIALS_LIST;
	if (flat_id() < n_items)
		add_vector(x, flat_id(), p, n);
}
