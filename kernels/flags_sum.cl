// flags_sum.cl - kernels with which ranks arrive at an all-reduce, wait for the others, or do both and add.
#include "flags.cl"
#include "sum.cl"

// One work-item.
kernel void flags_arrive(volatile global uint *flags, uint rank) { arrive(flags, rank); }

// Polls a number of times, to be timed. One work-item.
kernel void flags_poll(volatile global uint *flags, uint times) { poll_and_leave(flags, times); }

// Waits for the all-reduce at which this rank arrived `since` all-reduces ago. One work-item.
kernel void flags_wait(FLAGS, uint since)
{
	wait_for_all(flags, flags[EVN_FLAG_OF(FLAGS_RANK)] - since, FLAGS_WAIT);
	poll_and_leave(flags, FLAGS_DELAY);
}

// Arrives and waits, then adds 16 * n_vectors columns like add_partials. One work-item.
kernel IN_VECTORS void flags_and_add(FLAGS, SUM, uint n_vectors)
{
	wait_for_all(flags, arrive(flags, FLAGS_RANK), FLAGS_WAIT);
	for (uint i = 0; i < n_vectors; i++)
		add_columns(SUM_ARGS, i);
	poll_and_leave(flags, FLAGS_DELAY);
}
