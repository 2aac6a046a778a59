// flags_and_norm.cl - an all-reduce and the norm that follows.
#include "flags.cl"
#include "sum_norm.cl"

// Arrives and waits, then does the same as add_norm for n_rows rows. One work-item.
kernel IN_VECTORS void flags_and_norm(FLAGS, SUM, uint n_rows, NORMED)
{
	wait_for_all(flags, arrive(flags, FLAGS_RANK), FLAGS_WAIT);
	for (uint t = 0; t < n_rows; t++)
		add_norm_row(SUM_ARGS, NORMED_ARGS, t, (local float *)0);
	poll_and_leave(flags, FLAGS_DELAY);
}
