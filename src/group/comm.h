/* comm.h - the communicator: the ranks of an engine and their collectives. Each rank has a host thread of its own.
 * Every thread makes the same calls in the same order, as in MPI.
 *
 * An all-reduce adds the ranks' partial sums to a residual x that every rank holds. Sums are f32 and in rank
 * order, so one plan gives the same bits in every run and with every method:
 * - host: each thread waits for its device and maps its message. After a barrier, each thread copies the others'
 *   messages to its device, and a kernel adds. This works between any drivers. Devices that see each other's memory
 *   need no copies. Messages of devices that have their own memory travel through staging buffers, by a second queue.
 * - events: the ranks share a context. Each queue waits for the others' events, and a kernel reads all partial sums.
 *   The host only enqueues.
 * - flags: the devices work in the host's memory. A kernel counts and spins (flags.c). Used for short messages, and
 *   for two long messages that are in flight at once. Other messages use events or host.
 * - nodes: some ranks are in other processes. Each process has its own ranks' messages in the host's memory, the
 * nodes exchange them (nodes.c), and the devices add all of them.
 *
 * If the caller allows it, messages are packed into a shorter format than f32. A kernel packs each rank's message,
 * and all ranks add the packed messages in f32. The largest errors of a partial sum are:
 * - f16: 2^-11 of the value; 2^-25 absolute for values below 2^-14; values beyond 65504 become 65504
 * - bf16: 2^-8 of the value
 * - q8: 1/252 of the largest magnitude in its block of 32 */
#ifndef EVN_COMM_H
#define EVN_COMM_H

#include "group/team.h"
#include "node/node.h"
#include "ocl/ocl.h"

typedef struct evn_comm evn_comm;

#define EVN_COMM_RANKS 64 /* the bits of a rank mask */

/* Ranks in several processes. A rank has the same number in all of them, and only its own process calls for it. */
typedef struct {
	evn_nodes *nodes;                   /* NULL: all ranks are in this process */
	uint32_t first[EVN_COMM_RANKS + 1]; /* the ranks of node i are [first[i], first[i + 1]) */
	bool apart;                         /* each process adds the messages of its own ranks only */
} evn_comm_nodes;

/* One bit for each of the ranks [begin, end). */
static inline uint64_t evn_comm_ranks_from(uint32_t begin, uint32_t end)
{
	return begin == end ? 0 : UINT64_MAX >> (64 - (end - begin)) << begin;
}

typedef struct {
	evn_queue *const *queues;    /* (n_ranks), borrowed; those of other processes are not looked at */
	uint32_t n_ranks;            /* at most EVN_COMM_RANKS */
	evn_reduce reduce;           /* AUTO: events if all ranks share a context, otherwise host */
	bool flags_later;            /* evn_comm_use_flags may be asked for, though reduce says otherwise */
	evn_message_type messages;   /* of packed messages; if it is not f32, all lengths must be multiples of 32 */
	uint64_t max_floats;         /* the length of the longest message */
	uint32_t deadline_ms;        /* 0 for EVN_COMM_DEADLINE_MS */
	const evn_comm_nodes *nodes; /* borrowed; NULL: all ranks are in this process. reduce must then be AUTO or HOST */
} evn_comm_config;

/* How long a rank may keep the others waiting, and a device its host thread. A driver that compiles kernels at their
 * first launch can take a minute, on a busy machine several. */
#define EVN_COMM_DEADLINE_MS 300000u

/* EVENTS without a shared context is EVN_ERR_USAGE. FLAGS with a device that has its own memory, or with one that is
 * no CPU and has no fine-grained SVM atomics, is EVN_ERR_UNSUPPORTED. */
evn_status evn_comm_create(evn_comm **out, const evn_comm_config *config, evn_error *err);
/* The most bytes that a rank holds for each rank, itself included: two messages and two of half the length, and the
 * same packed. */
uint64_t evn_comm_peer_bytes(evn_message_type messages, uint64_t max_floats);
/* The bytes of one message in this format. */
uint64_t evn_comm_message_bytes(evn_message_type messages, uint64_t n_floats);
/* False if a device did not finish, now or in an earlier reset. Then nothing is freed, and the caller must also keep
 * the queue and the buffers of that device. */
bool evn_comm_free(evn_comm *c);
evn_reduce evn_comm_reduce(const evn_comm *c); /* the method for short messages */
const char *evn_reduce_name(evn_reduce r);

/* The ranks that take part in steps from now on; at first all. The others have no work: their threads make no calls,
 * and nobody waits for them. x of a rank that comes back has no meaning. Between steps, and only if all ranks are in
 * this process. `ranks` has one bit for each rank, and at least one. */
void evn_comm_take_part(evn_comm *c, uint64_t ranks);
bool evn_comm_takes_part(const evn_comm *c, uint32_t rank);
uint32_t evn_comm_first(const evn_comm *c); /* the first rank that takes part */

/* The buffer that rank writes its next partial sum of the stream to. Two messages can be in flight at once, each in a
 * stream (0 or 1). Each stream alternates between two buffers, so a rank can write its next partial sum while others
 * still read the last one. */
evn_buf *evn_comm_partial(const evn_comm *c, uint32_t rank, uint32_t stream);

/* What the summing kernel does with each row of x after the sum. `items` work-items share a row. The layer above
 * supplies two kernels, each in a file of the same name. The first arguments are those of add_partials (SUM in
 * sum.cl), or of flags_and_add (FLAGS in flags.cl, then SUM, n_rows). The epilogue's own arguments follow. */
typedef struct {
	const char *add;   /* work-group t computes row t. NULL: no epilogue */
	const char *flags; /* the same, and waits for the flags; one work-item computes all rows */
	uint32_t key; /* < EVN_EPILOGUE_KEYS. Kernels are cached by it: specify() may depend on nothing else in arg */
	void (*specify)(evn_spec *s, const void *arg, uint32_t items); /* sets the parts and defines */
	void (*set_args)(evn_args *a, const void *arg, uint32_t stride);
	const void *arg;
} evn_epilogue;

#define EVN_EPILOGUE_KEYS 32

/* The sum of one all-reduce: x = kept * x + scale * (the sum of the partial sums of `ranks`). */
typedef struct {
	evn_buf *x; /* (n_rows, stride). stride is a multiple of 32; if n_rows is 1, a multiple of 16 */
	uint32_t n_rows, stride;
	uint64_t ranks;    /* one bit for each rank with a partial sum; the other ranks wait for it too */
	uint32_t stream;   /* 0 or 1 */
	bool overlaps;     /* two messages may be in flight at once; evn_comm_overlaps must allow it */
	bool packs;        /* may be packed; false if a row's bits must not depend on the rows beside it */
	float kept, scale; /* 1 and 1 add the sum exactly; kept 0: what x held does not matter */
	uint32_t block;    /* that the sum belongs to, for traces */
	evn_epilogue then; /* may differ between ranks */
} evn_sum;
/* The sum of n_floats, a multiple of 16, in stream 0, with kept and scale 1 and no epilogue. */
static inline evn_sum evn_sum_of(evn_buf *x, uint64_t n_floats, uint64_t ranks)
{
	return (evn_sum){.x = x, .n_rows = 1, .stride = (uint32_t)n_floats, .ranks = ranks, .kept = 1, .scale = 1};
}

evn_status evn_comm_all_reduce(evn_comm *c, uint32_t rank, const evn_sum *s, evn_error *err);
/* An all-reduce in two parts. Between them a rank can work on another message. begin says that the rank's partial sum
 * is complete; end waits for the others' partial sums and adds them. */
evn_status evn_comm_all_reduce_begin(evn_comm *c, uint32_t rank, const evn_sum *s, evn_error *err);
evn_status evn_comm_all_reduce_end(evn_comm *c, uint32_t rank, const evn_sum *s, evn_error *err);
/* True if two messages of n_floats can be in flight at once: stream 1 may begin before stream 0 has ended. */
bool evn_comm_overlaps(const evn_comm *c, uint64_t n_floats);

/* Collects a host matrix by columns from all ranks. Rows [0, n_rows) of from (.., from_stride) on the device become
 * columns [column, column + n_columns) of to (.., to_stride). Strides are in floats. A rank without columns does
 * nothing. The matrix is complete when the calls of all ranks have returned. */
typedef struct {
	const evn_buf *from;
	float *to;
	uint32_t from_stride, to_stride, n_rows, column, n_columns;
} evn_gather;
evn_status evn_comm_gather(evn_comm *c, uint32_t rank, const evn_gather *g, evn_error *err);
/* Writes the n_floats at `from`, one host array for all ranks, to the beginning of every rank's `to`. `from` must
 * stay valid until the end of the step. */
evn_status evn_comm_broadcast(evn_comm *c, uint32_t rank, evn_buf *to, const float *from, uint64_t n_floats,
							  evn_error *err);

/* Waits until the threads of all ranks have arrived. EVN_ERR_CANCELLED if the step was cancelled. EVN_ERR_DEVICE if a
 * rank did not arrive within the deadline; this cancels the step. */
evn_status evn_comm_barrier(evn_comm *c, uint32_t rank, evn_error *err);
/* Waits until rank's queue is finished. */
evn_status evn_comm_finish(evn_comm *c, uint32_t rank, evn_error *err);
/* Waits until an event of rank's queue has completed. */
evn_status evn_comm_wait(evn_comm *c, uint32_t rank, evn_event *e, evn_error *err);
/* EVN_ERR_CANCELLED if the step was cancelled. It does not wait. For long work between collectives. */
evn_status evn_comm_check(evn_comm *c, evn_error *err);
/* Cancels the step: the collectives of all ranks end with EVN_ERR_CANCELLED instead of waiting. Called by a rank that
 * failed, or by a caller that wants the step to end. */
void evn_comm_cancel(evn_comm *c);
/* From now on short messages use the method of long messages. Called when flags have failed; they are not used again.
 * False if they were not in use. No thread may be in a collective. */
bool evn_comm_fall_back(evn_comm *c);
/* Short messages use flags, or the method of long messages. Between steps. False if nothing changes: flags were not
 * asked for when c was made, or have failed. */
bool evn_comm_use_flags(evn_comm *c, bool on);
bool evn_comm_uses_flags(const evn_comm *c);
bool evn_comm_has_flags(const evn_comm *c); /* they may be used */
/* True if a rank has kept the others waiting beyond the deadline, or a device its rank's thread. For
 * evn_team_config. */
bool evn_comm_find_fault(evn_comm *c, evn_fault *out);
/* Whether the rank's thread waits for its device. When the wait ends, its collective returns at once if the
 * communicator was cancelled meanwhile. */
bool evn_comm_waits(const evn_comm *c, uint32_t rank);
/* Makes the communicator usable again after a failed step. No thread may be in a collective. It waits for the queues
 * until the deadline. EVN_ERR_DEVICE names a device that did not finish; the communicator is then unusable for
 * good. */
evn_status evn_comm_reset(evn_comm *c, evn_error *err);

/* The trial that a method must pass before it is used: sums of messages of many cache lines, up to EVN_TRIAL_FLOATS
 * and max_floats, in which every value is new each time. Every rank calls it. */
#define EVN_TRIAL_FLOATS 32768u
evn_status evn_comm_try(evn_comm *c, uint32_t rank, evn_error *err);
/* Times all-reduces of n_floats among all ranks and checks their sums. us[n] (may be NULL) gets n times for one
 * all-reduce, each the mean over a step of 60. A decoder of 30 layers has as many, so the fixed cost of a step
 * (waking the devices, waiting for them and for the other ranks) is shared as in a decoder. Every rank calls it. */
evn_status evn_comm_time_all_reduce(evn_comm *c, uint32_t rank, uint64_t n_floats, uint32_t n, double *us,
									evn_error *err);

/* A step is the time from evn_comm_step_begin to evn_comm_step_end, which waits for the rank's queue. */
void evn_comm_step_begin(evn_comm *c, uint32_t rank);
evn_status evn_comm_step_end(evn_comm *c, uint32_t rank, evn_error *err);

/* The time that a rank's device worked, and the time that it waited for other ranks, within all steps so far. */
typedef struct {
	uint64_t busy_ns, wait_ns;
} evn_comm_times;
evn_comm_times evn_comm_rank_times(const evn_comm *c, uint32_t rank);
/* What another process has counted for its rank. */
void evn_comm_set_rank_times(evn_comm *c, uint32_t rank, evn_comm_times times);

/* ---- traces (trace.c) ------------------------------------------------------------------------------------------ */

typedef enum { EVN_RANK_COMPUTES, EVN_RANK_WAITS, EVN_RANK_REDUCES, EVN_RANK_KERNEL } evn_rank_act;

/* What a rank did. A rank waits until the last rank has arrived; then the messages come and are added. */
typedef struct {
	uint32_t rank;
	evn_rank_act act;
	uint32_t block;              /* EVN_BLOCK_NONE: after the last sum of the step; not of a kernel */
	const char *kernel;          /* its label, as in evn_kernel_sum */
	uint64_t began_ns, ended_ns; /* on the clock of evn_now_ns */
} evn_rank_span;
typedef void (*evn_rank_span_fn)(void *user, const evn_rank_span *s);

#define EVN_BLOCK_NONE UINT32_MAX

/* Keeps the times of steps from now on, or no longer. Each sum costs one event more; with `kernels` each launch has
 * an event. No step may run. */
evn_status evn_comm_trace(evn_comm *c, bool on, bool kernels, evn_error *err);
/* Tells what the ranks of this process did in the last step, if it succeeded. No step may run. The clocks of devices
 * are fitted to the host's: a device has ended a step before the host knows it, and the shortest delay is small. */
void evn_comm_trace_take(evn_comm *c, evn_rank_span_fn each, void *user);

#endif
