// meeting.cl - ranks of different queues, contexts or drivers meet in memory that all of them see. Comes after reduce.cl.
//
// That memory begins with a word of flags for each rank, which counts its meetings; partial sums lie behind the flags.
// What stays the same from meeting to meeting stands first among the arguments, and the count is kept in the memory
// alone: a driver is told only what is new.

#define FLAG_WORDS 16       // a cache line apart
#define LATE_SLOT MAX_RANKS // behind the counts

#define MEETING volatile global uint *shared, uint rank, uint n_ranks, uint limit, uint linger

// Says that this rank has come to its next meeting, and returns which that is. What the queue ran before is in memory by
// then: kernels of a queue run in order. Counts may wrap.
INLINE uint come(volatile global uint *shared, uint rank)
{
	uint round = shared[rank * FLAG_WORDS] + 1;
	mem_fence(CLK_GLOBAL_MEM_FENCE);
	shared[rank * FLAG_WORDS] = round;
	return round;
}

// Waits until all have come to a meeting. After `limit` looks it names the rank that did not come.
INLINE void wait_for_all(volatile global uint *shared, uint round, uint n_ranks, uint limit)
{
	if (shared[LATE_SLOT * FLAG_WORDS])
		return; // the step is lost already: do not wait again
	for (uint r = 0; r < n_ranks; r++)
		for (uint looks = 0; (int)(shared[r * FLAG_WORDS] - round) < 0;)
			if (++looks == limit) {
				shared[LATE_SLOT * FLAG_WORDS] = r + 1;
				return;
			}
	mem_fence(CLK_GLOBAL_MEM_FENCE);
}

// Looks a number of times and goes: ranks of one driver do not leave a meeting at the same moment.
INLINE void stay(volatile global uint *shared, uint looks)
{
	for (uint i = 0; i < looks; i++)
		(void)shared[0];
}

// The partial sums of those that contribute (a bit for each rank): rank 0's begin `first`, the next rank's `apart` behind
// it, both counted in sixteens of floats. Returns how many they are.
INLINE uint find_partials(const global uchar **p, const global uchar *shared, uint first, uint apart, uint contributors)
{
	uint n = 0;
	for (uint r = 0; r < MAX_RANKS; r++)
		if (contributors >> r & 1)
			p[n++] = shared + (first + (size_t)r * apart) * 64;
	return n;
}

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

// The meeting, then what add_norm does for n_tok rows. One work-item.
kernel IN_VECTORS void meet_and_norm(MEETING, uint apart, global float *x, uint n_tok, uint first, uint contributors,
                                     global float *y, const global float *w, const global float *bias, uint stride, uint dim,
                                     float eps)
{
	const global uchar *p[MAX_RANKS];
	uint n = find_partials(p, (const global uchar *)shared, first, apart, contributors);
	wait_for_all(shared, come(shared, rank), n_ranks, limit);
	for (uint t = 0; t < n_tok; t++)
		add_norm_row(y, t, x, p, n, w, bias, stride, dim, eps, (local float *)0);
	stay(shared, linger);
}
