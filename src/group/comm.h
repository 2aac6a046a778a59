/* comm.h - the ranks of an engine and their collectives. Each rank has a host thread of its own, and every rank's
 * thread makes the same calls in the same order (as in MPI).
 *
 * An all-reduce adds the ranks' partial sums to a residual x that every rank holds. Sums are f32 and in rank order,
 * so the same plan gives the same bits every run and by every method: host    Each thread waits for its device and
 * maps its message. The threads meet at a barrier, each copies the others' messages to its device, and a kernel adds.
 * Works between any drivers; devices that see each other's memory need no copies. events  Ranks of one context: each
 * queue waits for the others' events and a kernel reads all partial sums. The host only enqueues. flags   Devices
 * that work in the host's memory: a kernel counts and spins (flags.c). For short messages, and for two long ones at
 * once; others go by events or host. Where the caller allows it, messages are packed into a shorter format than f32:
 * each rank's by a kernel, and all ranks add what was packed, in f32. Largest error of a partial sum: f16 2^-11 of it
 * (2^-25 in all for values below 2^-14; beyond 65504 it is that), bf16 2^-8 of it, q8 1/252 of the largest magnitude
 * in its block of 32. */
#ifndef EVN_COMM_H
#define EVN_COMM_H

#include "group/team.h"
#include "ocl/ocl.h"

typedef struct evn_comm evn_comm;

typedef struct {
	evn_queue *const *queues;  /* (n_ranks), borrowed */
	uint32_t n_ranks;          /* at most EVN_COMM_RANKS */
	evn_reduce reduce;         /* AUTO: events where all ranks share a context, else host */
	evn_message_type messages; /* the format of packed messages; if it is not f32, all lengths are multiples of 32 */
	uint64_t max_floats;       /* of the longest message */
	uint32_t deadline_ms;      /* 0: EVN_COMM_DEADLINE_MS */
} evn_comm_config;

#define EVN_COMM_RANKS 64 /* bits of a mask of ranks */
/* What a rank may let others wait for it, and a device its host: a driver that compiles kernels at their first launch
 * may take a minute, on a busy machine several. */
#define EVN_COMM_DEADLINE_MS 300000u

/* EVENTS without a shared context is EVN_ERR_USAGE, FLAGS where a device has memory of its own EVN_ERR_UNSUPPORTED.
 */
evn_status evn_comm_create(evn_comm **out, const evn_comm_config *config, evn_error *err);
/* What each rank holds for each rank, itself too, at most: two messages, and as many packed. */
uint64_t evn_comm_peer_bytes(evn_message_type messages, uint64_t max_floats);
/* False where a device has not come to its end, neither now nor in a reset before: then nothing is freed, and queue
 * and buffers of such a device must stay too. */
bool evn_comm_free(evn_comm *c);
evn_reduce evn_comm_reduce(const evn_comm *c); /* the method of short messages */
const char *evn_reduce_name(evn_reduce r);

/* Up to two messages may be in flight at once, each in a stream: 0 or 1. Where rank writes its partial sum before the
 * next all-reduce of the stream. Two buffers of a stream alternate, so a rank may write the next partial sum while
 * others still read this one. */
evn_buf *evn_comm_partial(const evn_comm *c, uint32_t rank, uint32_t stream);

/* What the kernel that adds does with each row of x besides. The layer above gives it: two kernels, each in a file of
 * its own name. Their first arguments are those of add_partials (sum.cl: SUM), or of flags_and_add (flags.cl: FLAGS,
 * then SUM, n_rows); the epilogue's own come behind them. */
typedef struct {
	const char *add;   /* work-group t does row t. NULL: there is no epilogue */
	const char *flags; /* waits too; one work-item does all rows */
	uint32_t key; /* < EVN_EPILOGUE_KEYS; kernels are kept by it, so specify() must depend on nothing else of arg */
	void (*specify)(evn_spec *s, const void *arg, uint32_t items); /* parts and defines; so many items share a row */
	void (*set_args)(evn_args *a, const void *arg, uint32_t stride);
	const void *arg;
} evn_epilogue;

#define EVN_EPILOGUE_KEYS 32

/* What an all-reduce adds: x += scale * sum over `ranks` of their partial sums. */
typedef struct {
	evn_buf *x; /* (n_rows, stride); stride a multiple of 32, or n_rows 1 and stride a multiple of 16 */
	uint32_t n_rows, stride;
	uint64_t ranks;    /* a bit for each rank that has a partial sum; the others take part all the same */
	uint32_t stream;   /* of messages in flight */
	bool overlaps;     /* evn_comm_overlaps allows it: one of two in flight at once */
	bool packs;        /* may be packed. The caller says so, that a row's bits may not depend on the rows beside it */
	float scale;       /* of the sum; 1 adds it exactly as it is */
	evn_epilogue then; /* may differ from rank to rank */
} evn_sum;
/* Of n_floats, a multiple of 16, in stream 0, with scale 1 and nothing else. */
static inline evn_sum evn_sum_of(evn_buf *x, uint64_t n_floats, uint64_t ranks)
{
	return (evn_sum){.x = x, .n_rows = 1, .stride = (uint32_t)n_floats, .ranks = ranks, .scale = 1};
}

evn_status evn_comm_all_reduce(evn_comm *c, uint32_t rank, const evn_sum *s, evn_error *err);
/* The same in two parts, between which a rank may work on another message. Begin: its partial sum is complete. End:
 * the others' are waited for and added. */
evn_status evn_comm_all_reduce_begin(evn_comm *c, uint32_t rank, const evn_sum *s, evn_error *err);
evn_status evn_comm_all_reduce_end(evn_comm *c, uint32_t rank, const evn_sum *s, evn_error *err);
/* Whether two messages of so many floats may be in flight at once, stream 1's begun before stream 0's has ended. */
bool evn_comm_overlaps(const evn_comm *c, uint64_t n_floats);

/* Columns of a host matrix from every rank: rows [0, n_rows) of from (.., from_stride) on the device become columns
 * [column, column + n_columns) of to (.., to_stride). Strides in floats. A rank with no columns has nothing to do.
 * The matrix is complete when all ranks' calls have returned. */
typedef struct {
	const evn_buf *from;
	float *to;
	uint32_t from_stride, to_stride, n_rows, column, n_columns;
} evn_gather;
evn_status evn_comm_gather(evn_comm *c, uint32_t rank, const evn_gather *g, evn_error *err);
/* The first n_floats of every rank's `to` = those at `from`, which is one host array for all ranks. */
evn_status evn_comm_broadcast(evn_comm *c, uint32_t rank, evn_buf *to, const float *from, uint64_t n_floats,
							  evn_error *err);

/* Waits until every rank's thread is here. EVN_ERR_CANCELLED when the step was cancelled; EVN_ERR_DEVICE when a rank
 * did not come within the deadline, which cancels the step. */
evn_status evn_comm_barrier(evn_comm *c, uint32_t rank, evn_error *err);
/* Waits for rank's queue. */
evn_status evn_comm_finish(evn_comm *c, uint32_t rank, evn_error *err);
/* EVN_ERR_CANCELLED when the step was cancelled. Does not wait: for long work between collectives. */
evn_status evn_comm_check(evn_comm *c, evn_error *err);
/* Called by a rank that failed, or by a caller that wants the step to end: the others' collectives end with
 * EVN_ERR_CANCELLED instead of waiting for ever. */
void evn_comm_cancel(evn_comm *c);
/* Short messages go by the method of long ones from now on: when flags proved unfit. False when they do already. No
 * thread may be inside a collective. */
bool evn_comm_fall_back(evn_comm *c);
/* Whether a rank keeps the others waiting beyond the deadline, or its device the rank's thread: for evn_team_config.
 */
bool evn_comm_find_fault(evn_comm *c, evn_fault *out);
/* Makes the communicator usable again after a failed step; no thread may be inside a collective. Waits for the
 * queues, not longer than the deadline: EVN_ERR_DEVICE names the device that has not come to its end, and nothing can
 * be summed any more. */
evn_status evn_comm_reset(evn_comm *c, evn_error *err);

/* The trial that a method must pass: sums of messages of many cache lines, up to EVN_TRIAL_FLOATS and max_floats, in
 * which every value is new each time. Every rank calls it. */
#define EVN_TRIAL_FLOATS 32768u
evn_status evn_comm_try(evn_comm *c, uint32_t rank, evn_error *err);
/* Times all-reduces of n_floats among all ranks and checks their sums; us[n] (may be NULL) = what one took, n times
 * the mean of a step of 60: so many has a decoder of 30 layers, and what a step costs beside them - the host wakes
 * the devices, waits for them and for the other ranks - is shared as it is there. Every rank calls it. */
evn_status evn_comm_time_all_reduce(evn_comm *c, uint32_t rank, uint64_t n_floats, uint32_t n, double *us,
									evn_error *err);

/* A step is what happens between two begins; evn_comm_step_end waits for the rank's queue. */
void evn_comm_step_begin(evn_comm *c, uint32_t rank);
evn_status evn_comm_step_end(evn_comm *c, uint32_t rank, evn_error *err);

/* Inside steps, since creation: time the rank's device worked, and time it waited for other ranks. */
typedef struct {
	uint64_t busy_ns, wait_ns;
} evn_comm_times;
evn_comm_times evn_comm_rank_times(const evn_comm *c, uint32_t rank);

#endif
