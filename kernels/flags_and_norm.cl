// flags_and_norm.cl - an all-reduce and the norm that follows.
#include "flags.cl"
#include "sum_norm.cl"

// Arrives and waits, then does the same as add_norm for n_rows rows. One work-group.
kernel IN_VECTORS __attribute__((reqd_work_group_size(NORM_ITEMS, 1, 1))) void flags_and_norm(FLAGS, SUM, uint n_rows, NORMED POST)
{
	local float4 part[NORM_PART];
	if (get_local_id(0) == 0)
		wait_for_all(flags, arrive(flags, FLAGS_RANK), FLAGS_WAIT);
#if LANES == 1
	barrier(CLK_GLOBAL_MEM_FENCE); // the other items wait for the first
#endif
	for (uint t = 0; t < n_rows; t++)
		add_norm_row(SUM_ARGS, NORMED_ARGS POST_ARG, t, part);
	if (get_local_id(0) == 0)
		poll_and_leave(flags, FLAGS_DELAY);
}
