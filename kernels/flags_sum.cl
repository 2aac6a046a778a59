// flags_sum.cl - ranks arrive at an all-reduce, wait for the others, or do both and add.
#include "flags.cl"
#include "sum.cl"

// One work-item.
kernel void flags_arrive(volatile global uint *shared, uint rank) { arrive(shared, rank); }

// For the all-reduce that this rank arrived at `since` all-reduces ago. One work-item.
kernel void flags_wait(FLAGS, uint since)
{
	wait_for_all(shared, shared[rank * EVN_FLAG_WORDS] - since, n_ranks, limit);
	wait_looks(shared, delay);
}

// Arrives and waits, then x += partials over 16 * n_vectors columns, as add_partials does. One work-item.
kernel IN_VECTORS void flags_and_add(FLAGS, uint apart, global float *x, uint n_vectors, uint first, uint ranks)
{
	const global uchar *p[EVN_MAX_RANKS];
	uint n = find_partials(p, (const global uchar *)shared, first, apart, ranks);
	wait_for_all(shared, arrive(shared, rank), n_ranks, limit);
	for (uint i = 0; i < n_vectors; i++)
		add_vector(x, i, p, n);
	wait_looks(shared, delay);
}
