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

#define SPIN_LIMIT (1u << 30) /* polls; some seconds, because a driver may compile a kernel at its first launch */
#define DELAY_POLLS 6000u     /* about 2 us, the time for which a driver holds its locks between two kernels */
#define FUSED_FLOATS 8192     /* up to this length the waiting work-item also adds, which saves a launch */
#define ALIGN_BYTES 4096u     /* the alignment that evn_buf_wrap needs */

typedef struct {
	evn_kernel *arrive, *wait, *add, *then[EVN_EPILOGUE_KEYS];
	evn_buf *flags;           /* the flags as the rank's device sees them */
	uint32_t begun;           /* the number of messages begun by a kernel of their own */
	uint32_t at[EVN_STREAMS]; /* `begun` when the stream's last one began */
} member;

typedef struct {
	uint32_t n_ranks;
	uint64_t bytes;
	uint32_t *flags; /* the layout is in kernels/constants.h */
	member *members; /* (n_ranks) */
} state;

static evn_status prepare(state *st, evn_comm *c, uint32_t rank, evn_error *err)
{
	evn_queue *q = c->members[rank].queue;
	member *m = &st->members[rank];
	evn_spec spec = evn_spec_of("flags_sum.cl");
	evn_spec_part(&spec, "MESSAGE", "message/%s.cl", c->partials.format->kernel);
	EVN_TRY(evn_buf_wrap(&m->flags, evn_queue_device(q), st->flags, st->bytes, "flags", err));
	EVN_TRY(evn_kernel_get(&m->arrive, q, &spec, "flags_arrive", err));
	EVN_TRY(evn_kernel_get(&m->wait, q, &spec, "flags_wait", err));
	return evn_kernel_get(&m->add, q, &spec, "flags_and_add", err);
}

static evn_status create(void **own, evn_comm *c, evn_error *err)
{
	for (uint32_t i = 0; i < c->n_ranks; i++)
		if (!evn_device_unified_memory(evn_queue_device(c->members[i].queue)))
			return evn_fail(err, EVN_ERR_UNSUPPORTED,
							"reduce: flags needs devices that work in the host's memory, %s does not",
							evn_device_name(evn_queue_device(c->members[i].queue)));
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
	for (uint32_t i = 0; i < c->n_ranks; i++)
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
static uint32_t delay_polls(const evn_comm *c, uint32_t rank)
{
	uint32_t before = 0;
	for (uint32_t i = 0; i < rank; i++)
		before += evn_devices_share_context(evn_queue_device(c->members[i].queue),
											evn_queue_device(c->members[rank].queue));
	return before * DELAY_POLLS;
}

/* Sets the arguments FLAGS of flags.cl. */
static void arg_flags(evn_args *a, const member *m, const evn_comm *c, uint32_t rank)
{
	evn_arg_buf(a, m->flags);
	evn_arg_u32x4(a, (uint32_t[]){rank, c->n_ranks, SPIN_LIMIT, delay_polls(c, rank)});
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
