/* flags.c - the reduction method "flags": ranks wait for each other inside kernels. Each rank counts its
 * all-reduces in a word of host memory that all devices see. A kernel of one work-item spins until the others'
 * counts have come as far. Neither the host nor an event is waited for.
 *
 * It works only for devices that have their own hardware and share the host's memory. Two ranks on the same worker
 * threads would wait for ever (seen with two sub-devices of Intel's CPU runtime). Every spin is therefore bounded,
 * and the method is used only after a trial (evn_comm_try) has shown that the ranks pass each other and that the
 * sums are right. kernels/flags.cl explains why they stay right. */
#include <stdlib.h>
#include <string.h>

#include "group/method.h"
#include "kernels/constants.h"

/* Of CPUs, in polls: some seconds, because a driver may compile a kernel at its first launch, and about 2 us, the
 * time for which a driver holds its locks between two kernels. Of other devices, whose polls take up to microseconds,
 * in time: systems reset a device that is busy for seconds. */
#define SPIN_LIMIT (1u << 30)
#define DELAY_POLLS 6000u
#define SPIN_LIMIT_NS 200e6
#define DELAY_NS 2e3
#define FEW_POLLS 256u /* first timed; doubled until they take LONG_NS */
#define LONG_NS 1000000u
#define FUSED_FLOATS 8192 /* up to this length the waiting work-item also adds, which saves a launch */
#define MOST_RANKS 32     /* the kernels have their bits in a word */
#define ALIGN_BYTES 4096u /* the alignment that evn_buf_wrap needs */

typedef struct {
	evn_kernel *arrive, *wait, *add, *then[EVN_EPILOGUE_KEYS];
	evn_buf *flags; /* the flags as the rank's device sees them */
	uint32_t spin_polls, delay_polls;
	uint32_t begun;           /* the number of messages begun by a kernel of their own */
	uint32_t at[EVN_STREAMS]; /* `begun` when the stream's last one began */
} member;

typedef struct {
	uint32_t n_ranks;
	uint64_t bytes;
	uint32_t *flags; /* the layout is in kernels/constants.h */
	member *members; /* (n_ranks) */
} state;

static evn_status time_polls(const member *m, evn_kernel *k, evn_queue *q, uint32_t n, uint64_t *ns, evn_error *err)
{
	const uint64_t began = evn_now_ns();
	evn_args a = evn_args_begin(k);
	evn_arg_buf(&a, m->flags);
	evn_arg_u32(&a, n);
	EVN_TRY(evn_launch(&a, 1, (size_t[]){1}, (size_t[]){1}, err));
	EVN_TRY(evn_queue_finish(q, err));
	*ns = evn_now_ns() - began;
	return EVN_OK;
}

/* The number of polls in a time, at least one. */
static uint32_t polls_in(double ns, double poll_ns)
{
	const double n = ns / poll_ns;
	return n < 1 ? 1 : n < SPIN_LIMIT ? (uint32_t)n : SPIN_LIMIT;
}

static evn_status find_limits(member *m, evn_queue *q, const evn_spec *spec, evn_error *err)
{
	uint64_t ns = 0;
	uint32_t n = FEW_POLLS / 2;
	evn_kernel *k;
	m->spin_polls = SPIN_LIMIT;
	m->delay_polls = DELAY_POLLS;
	if (evn_device_is_cpu(evn_queue_device(q)))
		return EVN_OK;
	EVN_TRY(evn_kernel_get(&k, q, spec, "flags_poll", err));
	EVN_TRY(time_polls(m, k, q, 1, &ns, err)); /* the first launch may compile */
	for (ns = 0; ns < LONG_NS && n < SPIN_LIMIT / 2;)
		EVN_TRY(time_polls(m, k, q, n *= 2, &ns, err));
	m->spin_polls = polls_in(SPIN_LIMIT_NS, (double)ns / n);
	m->delay_polls = polls_in(DELAY_NS, (double)ns / n);
	evn_log(EVN_LOG_DEBUG, "%s polls a flag in %.3g ns", evn_device_name(evn_queue_device(q)), (double)ns / n);
	return EVN_OK;
}

static evn_status prepare(state *st, evn_comm *c, uint32_t rank, evn_error *err)
{
	evn_queue *q = c->members[rank].queue;
	member *m = &st->members[rank];
	evn_spec spec = evn_spec_of("flags_sum.cl");
	evn_spec_part(&spec, "MESSAGE", "message/%s.cl", c->partials.format->kernel);
	EVN_TRY(evn_buf_wrap(&m->flags, evn_queue_device(q), st->flags, st->bytes, "flags", err));
	EVN_TRY(evn_kernel_get(&m->arrive, q, &spec, "flags_arrive", err));
	EVN_TRY(evn_kernel_get(&m->wait, q, &spec, "flags_wait", err));
	EVN_TRY(find_limits(m, q, &spec, err));
	return evn_kernel_get(&m->add, q, &spec, "flags_and_add", err);
}

/* Kernels of CPUs see each other's memory while they run. Others need not, unless they say so. */
static evn_status check_device(const evn_device *d, evn_error *err)
{
	if (!evn_device_unified_memory(d))
		return evn_fail(err, EVN_ERR_UNSUPPORTED,
						"reduce: flags needs devices that work in the host's memory, %s does not",
						evn_device_name(d));
	if (!evn_device_is_cpu(d) && !evn_device_has(d, "svm_atomics"))
		return evn_fail(err, EVN_ERR_UNSUPPORTED,
						"reduce: flags needs CPUs or devices with fine-grained SVM atomics, %s has none",
						evn_device_name(d));
	return EVN_OK;
}

static evn_status create(void **own, evn_comm *c, evn_error *err)
{
	if (c->n_ranks > MOST_RANKS)
		return evn_fail(err, EVN_ERR_UNSUPPORTED, "reduce: flags: expected at most %d ranks, found %u", MOST_RANKS,
						c->n_ranks);
	for (uint32_t i = c->begin; i < c->end; i++)
		EVN_TRY(check_device(evn_queue_device(c->members[i].queue), err));
	state *st = *own = calloc(1, sizeof *st);
	if (!st)
		return evn_fail_memory(err, "flags", sizeof *st);
	st->n_ranks = c->n_ranks;
	st->bytes = evn_round_up(EVN_FLAG_OF(c->n_ranks) * sizeof *st->flags, ALIGN_BYTES);
	st->flags = aligned_alloc(ALIGN_BYTES, st->bytes);
	st->members = calloc(c->n_ranks, sizeof *st->members);
	if (!st->flags || !st->members)
		return evn_fail_memory(err, "flags", st->bytes + c->n_ranks * sizeof *st->members);
	memset(st->flags, 0, st->bytes);
	for (uint32_t i = c->begin; i < c->end; i++)
		EVN_TRY(prepare(st, c, i, err));
	return EVN_OK;
}

static void reset(void *own, evn_comm *c)
{
	state *st = own;
	(void)c;
	memset(st->flags, 0, st->bytes);
	for (uint32_t i = 0; i < st->n_ranks; i++) {
		st->members[i].begun = 0;
		memset(st->members[i].at, 0, sizeof st->members[i].at);
	}
}

static int late(const void *own)
{
	const volatile uint32_t *word = ((const state *)own)->flags + EVN_FLAG_LATE;
	return (int)*word - 1;
}

static void free_own(void *own, evn_comm *c)
{
	state *st = own;
	(void)c;
	if (!st)
		return;
	for (uint32_t i = 0; i < st->n_ranks && st->members; i++)
		evn_buf_free(st->members[i].flags);
	free(st->members);
	free(st->flags);
	free(st);
}

/* The delay of a rank, in polls. Ranks of one driver must not leave an all-reduce at the same moment: they would
 * contend for the driver's locks and sleep there. PoCL 3.1 has one lock for the code of all kernels; with it an
 * all-reduce took 10 to 14 us instead of 4, and a decoded token a fifth longer. Each rank of a driver therefore
 * leaves a little after the one before it. */
static uint32_t delay_polls(const member *m, const evn_comm *c, uint32_t rank)
{
	uint32_t before = 0;
	for (uint32_t i = 0; i < rank; i++)
		before += evn_is_other(c, rank, i) && evn_devices_share_context(evn_queue_device(c->members[i].queue),
																		evn_queue_device(c->members[rank].queue));
	return before * m->delay_polls;
}

/* Sets the arguments FLAGS of flags.cl. */
static void arg_flags(evn_args *a, const member *m, const evn_comm *c, uint32_t rank)
{
	evn_arg_buf(a, m->flags);
	evn_arg_u32x4(a, (uint32_t[]){rank, (uint32_t)c->taking_part, m->spin_polls, delay_polls(m, c, rank)});
}

static bool is_fused(const evn_sum *s) { return (uint64_t)s->n_rows * s->stride <= FUSED_FLOATS; }

/* A fused kernel arrives and waits by itself, in end(). */
static evn_status begin(void *own, evn_comm *c, uint32_t rank, const evn_sum *s, evn_error *err)
{
	member *m = &((state *)own)->members[rank];
	if (is_fused(s))
		return EVN_OK;
	evn_args a = evn_args_begin(m->arrive);
	evn_arg_buf(&a, m->flags);
	evn_arg_u32(&a, rank);
	m->at[s->stream] = ++m->begun;
	EVN_TRY(evn_launch(&a, 1, (size_t[]){1}, (size_t[]){1}, err));
	return evn_queue_flush(c->members[rank].queue, err); /* the others spin until they see this rank's count */
}

/* Enqueues one kernel that arrives, waits, adds and runs the epilogue. */
static evn_status fused(member *m, evn_comm *c, uint32_t rank, const evn_sum *s, evn_event **done, evn_error *err)
{
	evn_queue *q = c->members[rank].queue;
	evn_kernel **k = s->then.add ? &m->then[s->then.key] : &m->add;
	const uint32_t items = s->then.add ? evn_device_row_items(evn_queue_device(q)) : 1;
	if (!*k)
		EVN_TRY(evn_sum_kernel(k, q, c->partials.format, s->then.flags, &s->then, items, err));
	evn_args a = evn_args_begin(*k);
	arg_flags(&a, m, c, rank);
	evn_arg_sum(&a, c, rank, s);
	evn_arg_u32(&a, s->then.add ? s->n_rows : s->n_rows * s->stride / 16);
	if (s->then.add)
		s->then.set_args(&a, s->then.arg, s->stride);
	return evn_launch_timed(&a, 1, (size_t[]){1}, (size_t[]){items}, done, err);
}

static evn_status wait_and_add(member *m, evn_comm *c, uint32_t rank, const evn_sum *s, evn_event **done,
							   evn_error *err)
{
	evn_args a = evn_args_begin(m->wait);
	arg_flags(&a, m, c, rank);
	evn_arg_u32(&a, m->begun - m->at[s->stream]);
	EVN_TRY(evn_launch_timed(&a, 1, (size_t[]){1}, (size_t[]){1}, done, err));
	return evn_enqueue_sum(c, rank, s, err);
}

static evn_status end(void *own, evn_comm *c, uint32_t rank, const evn_sum *s, evn_error *err)
{
	member *m = &((state *)own)->members[rank];
	evn_exchange *exchange;
	EVN_TRY(evn_exchange_add(&c->members[rank], &exchange, err));
	EVN_TRY(is_fused(s) ? fused(m, c, rank, s, &exchange->resumed, err)
						: wait_and_add(m, c, rank, s, &exchange->resumed, err));
	return evn_queue_flush(c->members[rank].queue, err); /* the others spin until they see this rank's count */
}

const evn_reduce_method evn_reduce_by_flags = {.reduce = EVN_REDUCE_FLAGS,
											   .name = "flags",
											   .in_host_memory = true,
											   .create = create,
											   .begin = begin,
											   .end = end,
											   .reset = reset,
											   .late = late,
											   .free = free_own};
