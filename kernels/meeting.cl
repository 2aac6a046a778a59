// meeting.cl - ranks come to a meeting, wait for it, or meet and add. Comes after meet.cl.

// One work-item.
kernel void arrive(volatile global uint *shared, uint rank) { come(shared, rank); }

// For the meeting that this rank came to `since` meetings ago. One work-item.
kernel void await(MEETING, uint since)
{
	wait_for_all(shared, shared[rank * FLAG_WORDS] - since, n_ranks, limit);
	stay(shared, linger);
}

// The meeting, then x += partials over 16 * n_vectors columns, as add_partials does. One work-item.
kernel IN_VECTORS void meet_and_add(MEETING, uint apart, global float *x, uint n_vectors, uint first, uint contributors)
{
	const global uchar *p[MAX_RANKS];
	uint n = find_partials(p, (const global uchar *)shared, first, apart, contributors);
	wait_for_all(shared, come(shared, rank), n_ranks, limit);
	for (uint i = 0; i < n_vectors; i++)
		add_vector(x, i, p, n);
	stay(shared, linger);
}
