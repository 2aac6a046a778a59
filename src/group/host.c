/* host.c - the host waits for every rank and hands each the others' messages; then the devices add. Works between any
 * drivers. What a device's own memory holds is read through a mapping; ranks that see each other's memory read it. */
#include "group/method.h"

void evn_forget_mapping(evn_member *m, uint32_t index)
{
	if (m->mapped[index])
		evn_unmap(m->queue, m->mapped_buf[index], m->mapped[index], NULL);
	m->mapped[index] = NULL;
}

/* Waits until this rank's message is complete, and maps it if others need a copy. It stays mapped until the next
 * all-reduce but one: the others may copy until they reach the next one. */
static evn_status map_message(evn_member *m, evn_parts *parts, uint32_t rank, uint64_t bytes, bool has_one,
							  evn_error *err)
{
	uint32_t index = m->index[0];
	if (!parts->copies || !has_one)
		return evn_queue_finish(m->queue, err);
	m->mapped_buf[index] = parts->bufs[index][rank];
	return evn_map(m->queue, m->mapped_buf[index], bytes, EVN_MAP_READ, true, &m->mapped[index], err);
}

/* The queue has been waited for: the device worked until now and waits until all are here. */
static evn_status wait_for_ranks(evn_comm *c, evn_member *m, evn_error *err)
{
	uint64_t arrived = evn_now_ns();
	m->times.busy_ns += arrived - m->since_ns;
	evn_status s = evn_comm_barrier(c, err);
	m->since_ns = evn_now_ns();
	m->times.wait_ns += m->since_ns - arrived;
	return s;
}

evn_status evn_reduce_on_host(evn_comm *c, uint32_t rank, const evn_sum *s, evn_error *err)
{
	evn_member *m = &c->ranks[rank];
	evn_parts *parts;
	EVN_TRY(evn_message(c, rank, s, &parts, err));
	uint64_t bytes = evn_message_bytes(parts->format, (uint64_t)s->n_rows * s->stride);
	uint32_t index = m->index[0];
	EVN_TRY(map_message(m, parts, rank, bytes, s->ranks >> rank & 1, err));
	EVN_TRY(wait_for_ranks(c, m, err));
	for (uint32_t i = 0; i < c->n_ranks && parts->copies; i++)
		if (i != rank && s->ranks >> i & 1)
			EVN_TRY(evn_write_later(m->queue, parts->bufs[index][i], c->ranks[i].mapped[index], bytes, err));
	evn_forget_mapping(m, index ^ 1);
	return evn_enqueue_sum(c, rank, parts, s, err);
}
