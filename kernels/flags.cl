// flags.cl - ranks of different queues, contexts or drivers wait for each other through memory that all of them see.
//
// That memory begins with a word of flags for each rank, which counts its all-reduces; partial sums lie behind the flags.
// What stays the same from one all-reduce to the next stands first among the arguments, and the count is kept in the memory
// alone: a driver is told only what is new.
#include "common.cl"

#define FLAGS volatile global uint *shared, uint rank, uint n_ranks, uint limit, uint delay

// Says that this rank has arrived at its next all-reduce, and returns its number. What the queue ran before is in memory by
// then: kernels of a queue run in order. Counts may wrap.
INLINE uint arrive(volatile global uint *shared, uint rank)
{
	uint round = shared[rank * EVN_FLAG_WORDS] + 1;
	mem_fence(CLK_GLOBAL_MEM_FENCE);
	shared[rank * EVN_FLAG_WORDS] = round;
	return round;
}

// Waits until all have arrived at an all-reduce. After `limit` looks it names the rank that has not.
INLINE void wait_for_all(volatile global uint *shared, uint round, uint n_ranks, uint limit)
{
	if (shared[EVN_LATE_SLOT * EVN_FLAG_WORDS])
		return; // the step is lost already: do not wait again
	for (uint r = 0; r < n_ranks; r++)
		for (uint looks = 0; (int)(shared[r * EVN_FLAG_WORDS] - round) < 0;)
			if (++looks == limit) {
				shared[EVN_LATE_SLOT * EVN_FLAG_WORDS] = r + 1;
				return;
			}
	mem_fence(CLK_GLOBAL_MEM_FENCE);
}

// Looks a number of times and goes: ranks of one driver do not leave an all-reduce at the same moment.
INLINE void wait_looks(volatile global uint *shared, uint looks)
{
	for (uint i = 0; i < looks; i++)
		(void)shared[0];
}

// The partial sums of `ranks` (a bit for each): rank 0's begin `first`, the next rank's `apart` behind
// it, both counted in sixteens of floats. Returns how many they are.
INLINE uint find_partials(const global uchar **p, const global uchar *shared, uint first, uint apart, uint ranks)
{
	uint n = 0;
	for (uint r = 0; r < EVN_MAX_RANKS; r++)
		if (ranks >> r & 1)
			p[n++] = shared + (first + (size_t)r * apart) * 64;
	return n;
}
