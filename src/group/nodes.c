/* nodes.c - the reduction method "nodes", for ranks in several processes. The host waits for every rank of this
 * process, and one thread exchanges their messages with the other nodes. Every device then adds the messages of all
 * ranks in rank order, so the bits are those of one process.
 *
 * CPUs write their messages where the nodes exchange them, and read them there. For other devices the host copies the
 * messages to that place and from there, as method "host" does. */
#include <stdlib.h>
#include <string.h>

#include "group/method.h"

/* Messages in the host's memory, in slots as far apart as in the buffers. They alternate like these: a device may
 * still read one while the next is gathered. NULL if all messages are in the host's memory by themselves. */
typedef struct {
	uint8_t *slots[EVN_BUFFERS];
} gathered;

static evn_status create(void **own, evn_comm *c, evn_error *err)
{
	const uint64_t bytes = c->n_ranks * c->partials.apart;
	gathered *g = *own = calloc(1, sizeof *g);
	if (!g)
		return evn_fail_memory(err, "messages of nodes", sizeof *g);
	for (uint32_t i = 0; i < EVN_BUFFERS && (!c->partials.host || c->packing); i++) {
		g->slots[i] = aligned_alloc(EVN_PART_ALIGN, bytes);
		if (!g->slots[i])
			return evn_fail_memory(err, "messages of nodes", bytes);
	}
	return EVN_OK;
}

static void free_own(void *own, evn_comm *c)
{
	gathered *g = own;
	(void)c;
	for (uint32_t i = 0; g && i < EVN_BUFFERS; i++)
		free(g->slots[i]);
	free(g);
}

/* Where the nodes exchange the messages of rank's next all-reduce. */
static uint8_t *slots_of(const gathered *g, const evn_comm *c, uint32_t rank, const evn_sum *s)
{
	const evn_store *st = &c->partials;
	const uint32_t index = c->members[rank].index[s->stream];
	const bool in_place = st->host && !evn_packs(c, s);
	return in_place ? st->host + (s->stream * EVN_BUFFERS + index) * c->n_ranks * st->apart : g->slots[index];
}

const uint8_t *evn_nodes_message(const evn_comm *c, uint32_t rank, uint32_t from, const evn_sum *s)
{
	return slots_of(c->reducers[0].own, c, rank, s) + from * c->partials.apart;
}

static evn_status begin(void *own, evn_comm *c, uint32_t rank, const evn_sum *s, evn_error *err)
{
	(void)own;
	EVN_TRY(evn_pack(c, rank, s, err));
	return evn_store_of(c, s)->stages ? evn_stage_send(c, rank, s, err) : EVN_OK;
}

/* Waits until this rank's message is complete, and puts it into its slot. */
static evn_status put_message(const gathered *g, evn_comm *c, uint32_t rank, const evn_sum *s, uint64_t bytes,
							  evn_error *err)
{
	evn_member *m = &c->members[rank];
	const evn_store *st = evn_store_of(c, s);
	uint8_t *slot = slots_of(g, c, rank, s) + rank * c->partials.apart;
	if (st->stages) {
		EVN_TRY(evn_stage_wait_sent(c, rank, s, err));
		if (s->ranks >> rank & 1)
			memcpy(slot, evn_stage_message(c, rank, s), bytes);
		return EVN_OK;
	}
	if (st->host || !(s->ranks >> rank & 1))
		return evn_comm_finish(c, rank, err);
	evn_wait_begins(m);
	evn_status status = evn_read(m->queue, evn_store_next(st, c, rank, s->stream)->of[rank], 0, slot, bytes, err);
	evn_wait_ends(m);
	return status == EVN_OK ? evn_comm_check(c, err) : status;
}

static bool is_cancelled(void *comm) { return evn_comm_check(comm, NULL) != EVN_OK; }

/* All ranks of this process have put their messages; the first of them exchanges them. */
static evn_status exchange(const gathered *g, evn_comm *c, uint32_t rank, const evn_sum *s, uint64_t bytes,
						   evn_error *err)
{
	const evn_node_slots slots = {.base = slots_of(g, c, rank, s),
								  .apart = c->partials.apart,
								  .bytes = bytes,
								  .used = s->ranks,
								  .first = c->nodes->first};
	/* before the other ranks of this process lose patience with the first one */
	const evn_node_wait wait = {.deadline_ms = c->deadline_ms / 10 * 9, .give_up = is_cancelled, .user = c};
	EVN_TRY(evn_comm_barrier(c, rank, err));
	if (rank == c->begin)
		EVN_TRY(evn_nodes_exchange(c->nodes->nodes, &slots, &wait, err));
	return evn_comm_barrier(c, rank, err);
}

/* The message of every other rank goes to rank's device, if that does not read it where it is. */
static evn_status take_messages(evn_comm *c, uint32_t rank, const evn_sum *s, uint64_t bytes, evn_error *err)
{
	const evn_store *st = evn_store_of(c, s);
	if (st->stages)
		return evn_stage_receive(c, rank, s, err);
	for (uint32_t i = 0; i < c->n_ranks && !st->host; i++)
		if (i != rank && s->ranks >> i & 1)
			EVN_TRY(evn_write_later(c->members[rank].queue, evn_store_next(st, c, rank, s->stream)->of[i], 0,
									evn_nodes_message(c, rank, i, s), bytes, NULL, err));
	return EVN_OK;
}

static evn_status end(void *own, evn_comm *c, uint32_t rank, const evn_sum *s, evn_error *err)
{
	evn_member *m = &c->members[rank];
	const uint64_t bytes = evn_message_bytes(evn_store_of(c, s)->format, (uint64_t)s->n_rows * s->stride);
	EVN_TRY(put_message(own, c, rank, s, bytes, err));
	const uint64_t arrived = evn_now_ns();
	EVN_TRY(exchange(own, c, rank, s, bytes, err));
	const uint64_t resumed = evn_now_ns();
	if (!evn_store_of(c, s)->stages) { /* with them, events tell */
		m->times.busy_ns += arrived - m->since_ns;
		m->times.wait_ns += resumed - arrived;
		m->since_ns = resumed;
		evn_trace_host_wait(m, arrived, resumed);
	}
	EVN_TRY(take_messages(c, rank, s, bytes, err));
	return evn_enqueue_sum(c, rank, s, err);
}

const evn_reduce_method evn_reduce_by_nodes = {
	.reduce = EVN_REDUCE_HOST, .name = "nodes", .create = create, .begin = begin, .end = end, .free = free_own};
