/* host.c - meeting on the host: works between any drivers, and copies no f32 where device and host share memory. */
#include "group/ways.h"

/* x[n] += partials in rank order; the sum is made first, as the kernel add_partials does. */
static void add_in_rank_order(float *restrict x, const float *const *partials, uint32_t n_partials, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		float sum = partials[0][i];
		for (uint32_t k = 1; k < n_partials; k++)
			sum += partials[k][i];
		x[i] += sum;
	}
}

void evn_forget_mapping(evn_member *m, uint32_t turn)
{
	if (m->mapped[turn])
		evn_unmap(m->queue, m->mapped_buf[turn], m->mapped[turn], NULL);
	m->mapped[turn] = NULL;
}

/* Maps this rank's message, if it has one. It stays mapped until the next meeting but one: others may read it until
 * they reach the next meeting. */
static evn_status show(evn_member *m, evn_buf *message, uint64_t bytes, bool has_one, evn_error *err)
{
	m->mapped_buf[m->turn[0]] = message;
	return has_one ? evn_map(m->queue, message, bytes, EVN_MAP_READ, false, &m->mapped[m->turn[0]], err) : EVN_OK;
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

static void add_partials(const evn_group *g, uint32_t turn, float *x, uint64_t n_floats, uint32_t contributors)
{
	const float *partials[EVN_MAX_RANKS];
	uint32_t n = 0;
	for (uint32_t i = 0; i < g->n_ranks; i++)
		if (contributors >> i & 1)
			partials[n++] = g->ranks[i].mapped[turn];
	add_in_rank_order(x, partials, n, n_floats);
}

/* The host adds. */
static evn_status sum(evn_group *g, uint32_t rank, const evn_sum *s, evn_error *err)
{
	evn_member *m = &g->ranks[rank];
	uint64_t n_floats = (uint64_t)s->n_tok * s->stride, bytes = n_floats * sizeof(float);
	void *x_host;
	EVN_TRY(show(m, m->partials.bufs[m->turn[0]][rank], bytes, s->contributors >> rank & 1, err));
	EVN_TRY(evn_map(m->queue, s->x, bytes, EVN_MAP_UPDATE, true, &x_host, err));
	evn_status met = meet(g, m, err);
	if (met == EVN_OK)
		add_partials(g, m->turn[0], x_host, n_floats, s->contributors);
	evn_status unmapped = evn_unmap(m->queue, s->x, x_host, met == EVN_OK ? err : NULL);
	evn_forget_mapping(m, m->turn[0] ^ 1);
	if (met != EVN_OK || unmapped != EVN_OK)
		return met != EVN_OK ? met : unmapped;
	return evn_enqueue_norm(g, rank, s, err);
}

/* The host hands everybody the others' packed messages, and the devices add. */
static evn_status hand_over(evn_group *g, uint32_t rank, const evn_sum *s, evn_error *err)
{
	evn_member *m = &g->ranks[rank];
	uint64_t bytes = evn_packed_bytes(g, s);
	EVN_TRY(evn_pack(g, rank, s, err));
	EVN_TRY(show(m, m->packed.bufs[m->turn[0]][rank], bytes, s->contributors >> rank & 1, err));
	EVN_TRY(evn_queue_finish(m->queue, err));
	EVN_TRY(meet(g, m, err));
	for (uint32_t i = 0; i < g->n_ranks; i++)
		if (i != rank && s->contributors >> i & 1)
			EVN_TRY(
				evn_write(m->queue, m->packed.bufs[m->turn[0]][i], 0, g->ranks[i].mapped[m->turn[0]], bytes, err));
	evn_forget_mapping(m, m->turn[0] ^ 1);
	return evn_enqueue_sum(g, rank, &m->packed, s, err);
}

evn_status evn_reduce_on_host(evn_group *g, uint32_t rank, const evn_sum *s, evn_error *err)
{
	return g->packing && evn_is_long(s) ? hand_over(g, rank, s, err) : sum(g, rank, s, err);
}
