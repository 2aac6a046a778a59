// flags.cl - ranks of different queues, contexts or drivers wait for each other through memory that all of them see: a
// word for each rank, which counts its all-reduces, and before these the rank that was waited for in vain.
//
// What stays the same from one all-reduce to the next stands first among the arguments, and the count is kept in the memory
// alone: a driver is told only what is new.
//
// Who sees another rank's count must see its partial sums too. OpenCL 1.2 promises such an order within a work-group only.
// On CPU devices it follows from the processor: its caches are coherent, and the fences below keep compiler and processor
// from moving loads and stores across them. No rule says so for other devices that work in the host's memory: there the
// trial (evn_comm_try) must have found every line of many messages new each time.
#include "common.cl"

#define FLAGS volatile global uint *flags, uint rank, uint n_ranks, uint limit, uint delay

// Says that this rank has arrived at its next all-reduce, and returns its number. What the queue ran before is in memory by
// then: kernels of a queue run in order. Counts may wrap.
INLINE uint arrive(volatile global uint *flags, uint rank)
{
	uint round = flags[EVN_FLAG_OF(rank)] + 1;
	mem_fence(CLK_GLOBAL_MEM_FENCE);
	flags[EVN_FLAG_OF(rank)] = round;
	return round;
}

// Waits until all have arrived at an all-reduce. After `limit` looks it names the rank that has not.
INLINE void wait_for_all(volatile global uint *flags, uint round, uint n_ranks, uint limit)
{
	if (flags[EVN_FLAG_LATE])
		return; // the step is lost already: do not wait again
	for (uint r = 0; r < n_ranks; r++)
		for (uint looks = 0; (int)(flags[EVN_FLAG_OF(r)] - round) < 0;)
			if (++looks == limit) {
				flags[EVN_FLAG_LATE] = r + 1;
				return;
			}
	mem_fence(CLK_GLOBAL_MEM_FENCE);
}

// Looks a number of times and goes: ranks of one driver do not leave an all-reduce at the same moment.
INLINE void look(volatile global uint *flags, uint times)
{
	for (uint i = 0; i < times; i++)
		(void)flags[0];
}
