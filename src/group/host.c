/* host.c - summing on the host: works between any drivers, and copies nothing where device and host share memory. */
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

void evn_forget_mapping(evn_member *m, uint32_t rank, uint32_t turn)
{
	if (m->mapped[turn])
		evn_unmap(m->queue, m->partials[turn][rank], m->mapped[turn], NULL);
	m->mapped[turn] = NULL;
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

/* The partial stays mapped until the next meeting but one: others may read it until they reach the next meeting. */
evn_status evn_reduce_on_host(evn_group *g, uint32_t rank, const evn_sum *s, evn_error *err)
{
	evn_member *m = &g->ranks[rank];
	uint32_t turn = m->turn;
	uint64_t n_floats = (uint64_t)s->n_tok * s->stride, bytes = n_floats * sizeof(float);
	void *mapped = NULL, *x_host;
	if (s->contributors >> rank & 1)
		EVN_TRY(evn_map(m->queue, m->partials[turn][rank], bytes, EVN_MAP_READ, false, &mapped, err));
	m->mapped[turn] = mapped;
	EVN_TRY(evn_map(m->queue, s->x, bytes, EVN_MAP_UPDATE, true, &x_host, err));
	uint64_t arrived = evn_now_ns();
	m->times.busy_ns += arrived - m->since_ns;
	evn_status met = evn_group_meet(g, err);
	m->since_ns = evn_now_ns();
	m->times.wait_ns += m->since_ns - arrived;
	if (met == EVN_OK)
		add_partials(g, turn, x_host, n_floats, s->contributors);
	evn_status unmapped = evn_unmap(m->queue, s->x, x_host, met == EVN_OK ? err : NULL);
	evn_forget_mapping(m, rank, turn ^ 1);
	if (met != EVN_OK || unmapped != EVN_OK)
		return met != EVN_OK ? met : unmapped;
	return evn_enqueue_norm(g, rank, s, err);
}
