/* events.c - the reduction method "events". The queues of one context wait for each other's events, and a kernel
 * adds. The host only enqueues. */
#include <stdlib.h>

#include "group/method.h"

/* The events of a rank's last two all-reduces by this method, which the other ranks wait for. The step of the rank
 * owns the events. It frees them when all ranks have passed the end of the step, or in a reset. */
typedef struct {
	uint32_t count; /* the number of this rank's all-reduces */
	evn_event *arrived[2];
} arrival_events;

static evn_status create(void **own, evn_comm *c, evn_error *err)
{
	*own = calloc(c->n_ranks, sizeof(arrival_events));
	return *own ? EVN_OK : evn_fail_memory(err, "events", c->n_ranks * sizeof(arrival_events));
}

/* Every rank waits for every other rank, also for those without a partial sum. This protects the buffers: a rank
 * writes to the buffer that the others read now only after its next all-reduce, in which it waits until they have
 * read it. */
static evn_status wait_for_ranks(arrival_events *arrivals, evn_comm *c, uint32_t rank, evn_error *err)
{
	evn_member *m = &c->members[rank];
	const uint32_t parity = arrivals[rank].count++ & 1;
	evn_event *others[EVN_COMM_RANKS];
	evn_exchange *exchange;
	size_t n = 0;
	EVN_TRY(evn_exchange_add(m, &exchange, err));
	EVN_TRY(evn_event_last(&exchange->arrived, m->queue, err));
	arrivals[rank].arrived[parity] = exchange->arrived;
	EVN_TRY(evn_queue_flush(m->queue, err));
	EVN_TRY(evn_comm_barrier(c, rank, err));
	for (uint32_t i = 0; i < c->n_ranks; i++)
		if (evn_is_other(c, rank, i))
			others[n++] = arrivals[i].arrived[parity];
	return evn_queue_wait(m->queue, others, n, &exchange->resumed, err);
}

static evn_status begin(void *own, evn_comm *c, uint32_t rank, const evn_sum *s, evn_error *err)
{
	(void)own;
	EVN_TRY(evn_pack(c, rank, s, err));
	return evn_store_of(c, s)->stages ? evn_stage_send(c, rank, s, err) : EVN_OK;
}

/* The barrier makes sure that the others' events exist. */
static evn_status wait_staged(evn_comm *c, uint32_t rank, const evn_sum *s, evn_error *err)
{
	EVN_TRY(evn_comm_barrier(c, rank, err));
	EVN_TRY(evn_stage_enqueue_sent(c, rank, s, err));
	return evn_stage_receive(c, rank, s, err);
}

static evn_status end(void *own, evn_comm *c, uint32_t rank, const evn_sum *s, evn_error *err)
{
	if (evn_store_of(c, s)->stages)
		EVN_TRY(wait_staged(c, rank, s, err));
	else if (c->taking_part & (c->taking_part - 1)) /* several */
		EVN_TRY(wait_for_ranks(own, c, rank, err));
	return evn_enqueue_sum(c, rank, s, err);
}

static void reset(void *own, evn_comm *c)
{
	arrival_events *arrivals = own;
	for (uint32_t i = 0; i < c->n_ranks; i++)
		arrivals[i] = (arrival_events){0};
}

static void free_own(void *own, evn_comm *c)
{
	(void)c;
	free(own);
}

const evn_reduce_method evn_reduce_by_events = {.reduce = EVN_REDUCE_EVENTS,
												.name = "events",
												.create = create,
												.begin = begin,
												.end = end,
												.reset = reset,
												.free = free_own};
