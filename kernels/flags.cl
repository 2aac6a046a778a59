// flags.cl - ranks of different queues, contexts or drivers wait for each other through memory that all of them see.
// Each rank has one word, in which it counts its all-reduces. The word before these holds the rank that was waited
// for in vain.
//
// The arguments that stay the same between all-reduces come first, and the count exists only in the memory. A driver
// thus gets only the arguments that have changed.
//
// A rank that sees another rank's count must also see its partial sums. OpenCL 1.2 guarantees this order only within
// a work-group. On CPU devices the processor guarantees it: its caches are coherent, and the fences below keep the
// compiler and the processor from moving loads and stores across them. For other devices that work in the host's
// memory no rule guarantees it. For them the trial (evn_comm_try) must have found every cache line of many messages
// to be new each time.
#include "common.cl"

// group: this rank, one bit for each rank that takes part, the number of polls after which a rank is late, the number of polls before leaving.
#define FLAGS volatile global uint *flags, uint4 group
#define FLAGS_RANK group.x
#define FLAGS_WAIT group.y, group.z
#define FLAGS_DELAY group.w

// Announces that this rank has arrived at its next all-reduce, and returns the number of the all-reduce. Everything
// that the queue ran before is in memory by then, because the kernels of a queue run in order. Counts may wrap.
INLINE uint arrive(volatile global uint *flags, uint rank)
{
	uint round = flags[EVN_FLAG_OF(rank)] + 1;
	mem_fence(CLK_GLOBAL_MEM_FENCE);
	flags[EVN_FLAG_OF(rank)] = round;
	return round;
}

// Waits until all ranks that take part have arrived at all-reduce `round`. After `limit` polls it records the rank that has not.
INLINE void wait_for_all(volatile global uint *flags, uint round, uint ranks, uint limit)
{
	if (flags[EVN_FLAG_LATE])
		return; // the step has failed already: do not wait again
	for (uint r = 0, left = ranks; left; r++, left >>= 1)
		for (uint polls = 0; left & 1 && (int)(flags[EVN_FLAG_OF(r)] - round) < 0;)
			if (++polls == limit) {
				flags[EVN_FLAG_LATE] = r + 1;
				return;
			}
	mem_fence(CLK_GLOBAL_MEM_FENCE);
}

// Polls a number of times without waiting for anything, so that the ranks of one driver leave an all-reduce at
// different moments.
INLINE void poll_and_leave(volatile global uint *flags, uint times)
{
	for (uint i = 0; i < times; i++)
		(void)flags[0];
}
