// meeting.cl - ranks of different queues, contexts or drivers meet in memory that all of them see. Comes after reduce.cl.

#define FLAG_WORDS 16 // a cache line apart
#define LATE_SLOT 8   // behind the counts of at most 8 ranks

// Says that this rank has come to meeting `round` and waits until all have. What the queue ran before is in memory by
// then: kernels of a queue run in order. Counts may wrap. After `limit` looks it names the rank that did not come.
inline void wait_for_all(volatile global uint *flags, uint rank, uint n_ranks, uint round, uint limit)
{
	mem_fence(CLK_GLOBAL_MEM_FENCE);
	flags[rank * FLAG_WORDS] = round;
	if (flags[LATE_SLOT * FLAG_WORDS])
		return; // the step is lost already: do not wait again
	for (uint r = 0; r < n_ranks; r++)
		for (uint looks = 0; (int)(flags[r * FLAG_WORDS] - round) < 0;)
			if (++looks == limit) {
				flags[LATE_SLOT * FLAG_WORDS] = r + 1;
				return;
			}
	mem_fence(CLK_GLOBAL_MEM_FENCE);
}

// One work-item.
kernel void meet(volatile global uint *flags, uint rank, uint n_ranks, uint round, uint limit)
{
	wait_for_all(flags, rank, n_ranks, round, limit);
}

// The meeting, then x += p0 + p1 + ... over 16 * n_vectors columns, as add_partials does. One work-item.
kernel IN_VECTORS void meet_and_add(volatile global uint *flags, uint rank, uint n_ranks, uint round, uint limit, uint n_vectors,
                                    global float *x, uint n, PARTIALS)
{
	wait_for_all(flags, rank, n_ranks, round, limit);
	const global float *p[] = PARTIALS_LIST;
	for (uint i = 0; i < n_vectors; i++)
		add_vector(x, i, p, n);
}

// The meeting, then what add_norm does for n_tok rows. One work-item.
kernel IN_VECTORS void meet_and_norm(volatile global uint *flags, uint rank, uint n_ranks, uint round, uint limit, uint n_tok,
                                     global float *x, uint n, PARTIALS, global float *y, const global float *w,
                                     const global float *bias, uint stride, uint dim, float eps)
{
	wait_for_all(flags, rank, n_ranks, round, limit);
	const global float *p[] = PARTIALS_LIST;
	for (uint t = 0; t < n_tok; t++)
		add_norm_row(y, t, x, p, n, w, bias, stride, dim, eps, (local float *)0);
}
