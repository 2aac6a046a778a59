/* host.c - the reduction method "host". The host waits for every rank and copies each rank the others' messages; then
 * the devices add. It works between any drivers. Ranks that see each other's memory need no copy. Messages of drivers
 * that work in the host's memory are read through a mapping, others through staging buffers. */
#include <stdlib.h>

#include "group/method.h"

/* A rank's last two messages as the host sees them. NULL if not mapped. */
typedef struct {
	evn_buf *buf[EVN_BUFFERS];
	void *mapped[EVN_BUFFERS];
} mapping;

static evn_status create(void **own, evn_comm *c, evn_error *err)
{
	*own = calloc(c->n_ranks, sizeof(mapping));
	return *own ? EVN_OK : evn_fail_memory(err, "mappings", c->n_ranks * sizeof(mapping));
}

static void unmap_message(mapping *p, evn_queue *q, uint32_t index)
{
	if (p->mapped[index])
		evn_unmap(q, p->buf[index], p->mapped[index], NULL);
	p->mapped[index] = NULL;
}

/* Waits until this rank's message is complete, and maps it if others need a copy. It stays mapped until the end of
 * the rank's next all-reduce, because the others may copy it until they reach that one. */
static evn_status finish_message(mapping *p, evn_comm *c, uint32_t rank, const evn_sum *s, uint64_t bytes,
								 evn_error *err)
{
	evn_member *m = &c->members[rank];
	const evn_store *st = evn_store_of(c, s);
	const uint32_t index = m->index[s->stream];
	if (!st->copies || !(s->ranks >> rank & 1))
		return evn_comm_finish(c, rank, err);
	p->buf[index] = evn_store_next(st, c, rank, s->stream)->of[rank];
	evn_wait_begins(m);
	evn_status status = evn_map(m->queue, p->buf[index], bytes, EVN_MAP_READ, true, &p->mapped[index], err);
	evn_wait_ends(m);
	return status;
}

/* The queue is finished: the device worked until now, and it waits until all ranks have arrived. */
static evn_status wait_for_ranks(evn_comm *c, uint32_t rank, evn_error *err)
{
	evn_member *m = &c->members[rank];
	uint64_t arrived = evn_now_ns();
	m->times.busy_ns += arrived - m->since_ns;
	evn_status status = evn_comm_barrier(c, rank, err);
	m->since_ns = evn_now_ns();
	m->times.wait_ns += m->since_ns - arrived;
	evn_trace_host_wait(m, arrived, m->since_ns);
	return status;
}

static evn_status begin(void *own, evn_comm *c, uint32_t rank, const evn_sum *s, evn_error *err)
{
	(void)own;
	EVN_TRY(evn_pack(c, rank, s, err));
	return evn_store_of(c, s)->stages ? evn_stage_send(c, rank, s, err) : EVN_OK;
}

static evn_status end_staged(evn_comm *c, uint32_t rank, const evn_sum *s, evn_error *err)
{
	EVN_TRY(evn_stage_wait_sent(c, rank, s, err));
	EVN_TRY(evn_comm_barrier(c, rank, err));
	EVN_TRY(evn_stage_receive(c, rank, s, err));
	return evn_enqueue_sum(c, rank, s, err);
}

static evn_status end(void *own, evn_comm *c, uint32_t rank, const evn_sum *s, evn_error *err)
{
	mapping *mappings = own;
	evn_member *m = &c->members[rank];
	const evn_store *st = evn_store_of(c, s);
	const uint64_t bytes = evn_message_bytes(st->format, (uint64_t)s->n_rows * s->stride);
	const uint32_t index = m->index[s->stream];
	if (st->stages)
		return end_staged(c, rank, s, err);
	EVN_TRY(finish_message(&mappings[rank], c, rank, s, bytes, err));
	EVN_TRY(wait_for_ranks(c, rank, err));
	for (uint32_t i = 0; i < c->n_ranks && st->copies; i++)
		if (i != rank && s->ranks >> i & 1)
			EVN_TRY(evn_write_later(m->queue, evn_store_next(st, c, rank, s->stream)->of[i], 0,
									mappings[i].mapped[index], bytes, NULL, err));
	unmap_message(&mappings[rank], m->queue, index ^ 1);
	return evn_enqueue_sum(c, rank, s, err);
}

static void reset(void *own, evn_comm *c)
{
	mapping *mappings = own;
	for (uint32_t rank = 0; rank < c->n_ranks; rank++)
		for (uint32_t index = 0; index < EVN_BUFFERS; index++)
			unmap_message(&mappings[rank], c->members[rank].queue, index);
}

static void free_own(void *own, evn_comm *c)
{
	(void)c;
	free(own);
}

const evn_reduce_method evn_reduce_by_host = {.reduce = EVN_REDUCE_HOST,
											  .name = "host",
											  .create = create,
											  .begin = begin,
											  .end = end,
											  .reset = reset,
											  .free = free_own};
