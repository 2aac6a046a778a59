/* stage.c - messages of devices that have their own memory. A message travels through pinned memory of the host: from
 * the sender's device to its staging buffer, and from there to the other devices. Each rank has a second queue for
 * this, so the device computes meanwhile. Only the bytes of the message travel, whatever the size of its buffers. */
#include <stdlib.h>
#include <string.h>

#include "group/method.h"

/* The memory begins with the rank's own message. The messages of the other ranks follow only if the rank's driver
 * must not read them from another driver's memory. */
struct evn_stage {
	evn_pinned memory;
	evn_event *ready; /* the rank's device has computed the message */
	evn_event *sent;  /* the message is in the host's memory */
};

static evn_device *device_of(const evn_comm *c, uint32_t rank) { return evn_queue_device(c->members[rank].queue); }
static bool is_elsewhere(const evn_comm *c, uint32_t rank) { return rank < c->begin || rank >= c->end; }

/* A driver reads memory that another driver or MPI has pinned no faster than any other memory, and waits for it. The
 * host therefore copies such messages first, unless the device works in its memory. */
static bool copies_first(const evn_comm *c, uint32_t rank, uint32_t from)
{
	return !evn_device_unified_memory(device_of(c, rank)) &&
		   (is_elsewhere(c, from) || !evn_devices_share_context(device_of(c, rank), device_of(c, from)));
}

evn_status evn_stages_create(evn_store *st, evn_comm *c, evn_error *err)
{
	const size_t n = (size_t)c->n_ranks * st->n_messages;
	st->stages = calloc(n, sizeof *st->stages);
	if (!st->stages)
		return evn_fail_memory(err, "staging buffers", n * sizeof *st->stages);
	for (uint32_t rank = c->begin; rank < c->end; rank++) {
		evn_member *m = &c->members[rank];
		if (!m->transfers)
			EVN_TRY(evn_queue_create_untimed(&m->transfers, device_of(c, rank), err));
		uint32_t n_parts = 1;
		for (uint32_t i = 0; i < c->n_ranks; i++)
			n_parts = copies_first(c, rank, i) ? c->n_ranks + 1 : n_parts;
		for (uint32_t i = 0; i < st->n_messages; i++)
			EVN_TRY(evn_pinned_create(&st->stages[rank * st->n_messages + i].memory, m->transfers,
									  n_parts * evn_store_apart(st, i / EVN_BUFFERS), "staging buffer", err));
	}
	return EVN_OK;
}

static void forget(evn_stage *s)
{
	evn_event_free(s->ready);
	evn_event_free(s->sent);
	s->ready = s->sent = NULL;
}

void evn_stages_reset(evn_store *st, const evn_comm *c)
{
	for (size_t i = 0; st->stages && i < (size_t)c->n_ranks * st->n_messages; i++)
		forget(&st->stages[i]);
}

void evn_stages_free(evn_store *st, const evn_comm *c)
{
	evn_stages_reset(st, c);
	for (size_t i = 0; st->stages && i < (size_t)c->n_ranks * st->n_messages; i++)
		evn_pinned_free(&st->stages[i].memory, c->members[i / st->n_messages].transfers);
	free(st->stages);
	st->stages = NULL;
}

/* The stage of rank `of` in the next all-reduce of rank `at`. The thread of `of` may be an all-reduce further. */
static evn_stage *stage_of(const evn_store *st, const evn_comm *c, uint32_t at, uint32_t of, uint32_t stream)
{
	return &st->stages[of * st->n_messages + stream * EVN_BUFFERS + c->members[at].index[stream]];
}

static uint64_t bytes_of(const evn_store *st, const evn_sum *s)
{
	return evn_message_bytes(st->format, (uint64_t)s->n_rows * s->stride);
}

/* The stage's events of two all-reduces ago may go: since then this rank has met the ranks that waited for them. */
evn_status evn_stage_send(evn_comm *c, uint32_t rank, const evn_sum *s, evn_error *err)
{
	evn_member *m = &c->members[rank];
	const evn_store *st = evn_store_of(c, s);
	evn_stage *stage = stage_of(st, c, rank, rank, s->stream);
	evn_event *resumed;
	forget(stage);
	EVN_TRY(evn_event_last(&stage->ready, m->queue, err));
	EVN_TRY(evn_queue_flush(m->queue, err));
	EVN_TRY(evn_queue_wait(m->transfers, &stage->ready, 1, &resumed, err));
	if (!(s->ranks >> rank & 1)) { /* without a message, the event protects the buffers that the rank reads */
		stage->sent = resumed;
		return evn_queue_flush(m->transfers, err);
	}
	evn_event_free(resumed);
	EVN_TRY(evn_read_later(m->transfers, evn_store_next(st, c, rank, s->stream)->of[rank], 0, stage->memory.host,
						   bytes_of(st, s), &stage->sent, err));
	return evn_queue_flush(m->transfers, err);
}

evn_status evn_stage_wait_sent(evn_comm *c, uint32_t rank, const evn_sum *s, evn_error *err)
{
	evn_member *m = &c->members[rank];
	const evn_stage *stage = stage_of(evn_store_of(c, s), c, rank, rank, s->stream);
	evn_wait_begins(m);
	evn_status status = evn_event_wait(stage->sent, m->transfers, err);
	evn_wait_ends(m);
	return status == EVN_OK ? evn_comm_check(c, err) : status;
}

evn_status evn_stage_enqueue_sent(evn_comm *c, uint32_t rank, const evn_sum *s, evn_error *err)
{
	evn_event *others[EVN_COMM_RANKS], *resumed;
	size_t n = 0;
	for (uint32_t i = 0; i < c->n_ranks; i++)
		if (evn_is_other(c, rank, i))
			others[n++] = stage_of(evn_store_of(c, s), c, rank, i, s->stream)->sent;
	EVN_TRY(evn_queue_wait(c->members[rank].transfers, others, n, &resumed, err));
	evn_event_free(resumed);
	return EVN_OK;
}

const uint8_t *evn_stage_message(const evn_comm *c, uint32_t rank, const evn_sum *s)
{
	const evn_store *st = evn_packs(c, s) ? &c->packed : &c->partials;
	return stage_of(st, c, rank, rank, s->stream)->memory.host;
}

/* Writes the message of rank `from` to rank's device. */
static evn_status receive_one(evn_comm *c, uint32_t rank, uint32_t from, const evn_sum *s, evn_event **done,
							  evn_error *err)
{
	const evn_store *st = evn_store_of(c, s);
	const uint64_t bytes = bytes_of(st, s);
	const uint8_t *host = is_elsewhere(c, from) ? evn_nodes_message(c, rank, from, s)
												: stage_of(st, c, rank, from, s->stream)->memory.host;
	if (copies_first(c, rank, from)) {
		uint8_t *own =
			stage_of(st, c, rank, rank, s->stream)->memory.host + (from + 1) * evn_store_apart(st, s->stream);
		memcpy(own, host, bytes);
		host = own;
	}
	return evn_write_later(c->members[rank].transfers, evn_store_next(st, c, rank, s->stream)->of[from], 0, host,
						   bytes, done, err);
}

evn_status evn_stage_receive(evn_comm *c, uint32_t rank, const evn_sum *s, evn_error *err)
{
	evn_member *m = &c->members[rank];
	evn_stage *stage = stage_of(evn_store_of(c, s), c, rank, rank, s->stream);
	evn_exchange *exchange;
	evn_event *done = NULL;
	for (uint32_t i = 0; i < c->n_ranks; i++)
		if (i != rank && s->ranks >> i & 1) {
			evn_event_free(done);
			done = NULL;
			EVN_TRY(receive_one(c, rank, i, s, &done, err));
		}
	evn_status status = evn_queue_flush(m->transfers, err);
	if (status == EVN_OK)
		status = evn_exchange_add(m, &exchange, err);
	if (status == EVN_OK && s->overlaps) { /* the device has computed something else meanwhile */
		status = evn_event_last(&exchange->arrived, m->queue, err);
	} else if (status == EVN_OK) {
		exchange->arrived = stage->ready;
		stage->ready = NULL;
	}
	if (status == EVN_OK)
		status = evn_queue_wait(m->queue, &done, done ? 1 : 0, &exchange->resumed, err);
	evn_event_free(done);
	return status;
}

/* ---- what the host gets and gives ------------------------------------------------------------------------------ */

static evn_status reserve_output(evn_member *m, uint64_t bytes, evn_error *err)
{
	if (m->output.bytes >= bytes)
		return EVN_OK;
	evn_pinned_free(&m->output, m->queue);
	return evn_pinned_create(&m->output, m->queue, bytes, "staging buffer", err);
}

/* Transfers to pinned memory do not wait for each other on the host. */
evn_status evn_stage_gather(evn_member *m, const evn_gather *g, evn_error *err)
{
	const uint64_t row_bytes = g->n_columns * sizeof(float);
	EVN_TRY(reserve_output(m, g->n_rows * row_bytes, err));
	for (uint32_t t = 0; t < g->n_rows; t++)
		EVN_TRY(evn_read_later(m->queue, g->from, (uint64_t)t * g->from_stride * sizeof(float),
							   m->output.host + t * row_bytes, row_bytes, NULL, err));
	EVN_TRY(evn_queue_finish(m->queue, err));
	for (uint32_t t = 0; t < g->n_rows; t++)
		memcpy(g->to + (uint64_t)t * g->to_stride + g->column, m->output.host + t * row_bytes, row_bytes);
	return EVN_OK;
}
