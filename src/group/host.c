/* host.c - the host waits for every rank and hands each the others' messages; then the devices add. Works between any
 * drivers. What a device's own memory holds is read through a mapping; ranks that see each other's memory read it. */
#include "group/ways.h"

void evn_forget_mapping(evn_member *m, uint32_t turn)
{
	if (m->mapped[turn])
		evn_unmap(m->queue, m->mapped_buf[turn], m->mapped[turn], NULL);
	m->mapped[turn] = NULL;
}

/* Waits until this rank's message is complete, and maps it if others need a copy. It stays mapped until the next
 * meeting but one: their copying may last until they reach the next meeting. */
static evn_status show(evn_member *m, evn_parts *parts, uint32_t rank, uint64_t bytes, bool has_one, evn_error *err)
{
	uint32_t turn = m->turn[0];
	if (!parts->copies || !has_one)
		return evn_queue_finish(m->queue, err);
	m->mapped_buf[turn] = parts->bufs[turn][rank];
	return evn_map(m->queue, m->mapped_buf[turn], bytes, EVN_MAP_READ, true, &m->mapped[turn], err);
}

/* The queue has been waited for: the device worked until now and waits until all are here. */
static evn_status meet(evn_group *g, evn_member *m, evn_error *err)
{
	uint64_t arrived = evn_now_ns();
	m->times.busy_ns += arrived - m->since_ns;
	evn_status met = evn_group_meet(g, err);
	m->since_ns = evn_now_ns();
	m->times.wait_ns += m->since_ns - arrived;
	return met;
}

evn_status evn_reduce_on_host(evn_group *g, uint32_t rank, const evn_sum *s, evn_error *err)
{
	evn_member *m = &g->ranks[rank];
	evn_parts *parts;
	EVN_TRY(evn_message(g, rank, s, &parts, err));
	uint64_t bytes = evn_message_bytes(parts->format, (uint64_t)s->n_tok * s->stride);
	uint32_t turn = m->turn[0];
	EVN_TRY(show(m, parts, rank, bytes, s->contributors >> rank & 1, err));
	EVN_TRY(meet(g, m, err));
	for (uint32_t i = 0; i < g->n_ranks && parts->copies; i++)
		if (i != rank && s->contributors >> i & 1)
			EVN_TRY(evn_write_later(m->queue, parts->bufs[turn][i], g->ranks[i].mapped[turn], bytes, err));
	evn_forget_mapping(m, turn ^ 1);
	return evn_enqueue_sum(g, rank, parts, s, err);
}
