/* group.c - ranks, their exchange buffers, and all_reduce by the host or by events. */
#include "group/group.h"

#include <stdlib.h>

#include "group/meeting.h"

#define WAYS 2 /* exchange buffers that alternate */
#define MAX_EXCHANGES 1024 /* of one step, kept until its end for their times */

/* One meeting by events: partial written, and the wait for the others over. */
typedef struct {
	evn_event *ready, *resumed;
} exchange;

typedef struct {
	evn_queue *queue;
	evn_buf *partial[WAYS];
	uint32_t turn;       /* which of them comes next */
	float *mapped[WAYS]; /* host: partial as the host sees it, while mapped */
	evn_kernel *add;     /* events */
	exchange exchanges[MAX_EXCHANGES];
	uint32_t n_exchanges;
	evn_event *step_begin;
	evn_group_times times;
	uint64_t since_ns; /* host: when the device began to work */
} member;

struct evn_group {
	uint32_t n_ranks;
	evn_reduce reduce;
	evn_meeting meeting;
	member ranks[EVN_MAX_RANKS];
};

static evn_status member_create(member *m, evn_queue *q, evn_reduce reduce, uint64_t max_floats, evn_error *err)
{
	m->queue = q;
	for (int i = 0; i < WAYS; i++) {
		EVN_TRY(evn_buf_create(&m->partial[i], evn_queue_device(q), max_floats * sizeof(float), EVN_BUF_HOST_VISIBLE,
		                       "partial sums", err));
		/* Rows are written up to the weights' width only; the padding behind them must be zeros. */
		EVN_TRY(evn_fill_zero(q, m->partial[i], err));
	}
	if (reduce == EVN_REDUCE_EVENTS)
		EVN_TRY(evn_kernel_get(&m->add, q, "rowwise.cl", "add_partials", "", err));
	return evn_queue_finish(q, err);
}

evn_status evn_group_create(evn_group **out, evn_queue *const *queues, uint32_t n_ranks, evn_reduce reduce,
                            uint64_t max_floats, evn_error *err)
{
	bool shared = true;
	for (uint32_t i = 1; i < n_ranks; i++)
		shared &= evn_devices_share_context(evn_queue_device(queues[0]), evn_queue_device(queues[i]));
	if (reduce == EVN_REDUCE_EVENTS && !shared)
		return evn_fail(err, EVN_ERR_USAGE, "reduce: events needs all devices on one platform; use host or auto");
	evn_group *g = *out = calloc(1, sizeof *g);
	if (!g)
		return evn_fail_memory(err, "group", sizeof *g);
	evn_meeting_init(&g->meeting, n_ranks);
	g->n_ranks = n_ranks;
	g->reduce = reduce != EVN_REDUCE_AUTO ? reduce : shared ? EVN_REDUCE_EVENTS : EVN_REDUCE_HOST;
	for (uint32_t i = 0; i < n_ranks; i++)
		EVN_TRY(member_create(&g->ranks[i], queues[i], g->reduce, max_floats, err));
	return EVN_OK;
}

void evn_group_free(evn_group *g)
{
	if (!g)
		return;
	evn_group_reset(g);
	for (uint32_t i = 0; i < g->n_ranks; i++)
		for (int k = 0; k < WAYS; k++)
			evn_buf_free(g->ranks[i].partial[k]);
	evn_meeting_destroy(&g->meeting);
	free(g);
}

uint32_t evn_group_n_ranks(const evn_group *g) { return g->n_ranks; }
evn_reduce evn_group_reduce(const evn_group *g) { return g->reduce; }
evn_buf *evn_group_partial(const evn_group *g, uint32_t rank) { return g->ranks[rank].partial[g->ranks[rank].turn]; }
evn_group_times evn_group_rank_times(const evn_group *g, uint32_t rank) { return g->ranks[rank].times; }
void evn_group_give_up(evn_group *g) { evn_meeting_give_up(&g->meeting); }

evn_status evn_group_meet(evn_group *g, evn_error *err)
{
	return evn_meeting_wait(&g->meeting) ? EVN_OK : evn_fail(err, EVN_ERR_CANCELLED, "another device failed first");
}

static void forget_mapping(member *m, uint32_t turn)
{
	if (m->mapped[turn])
		evn_unmap(m->queue, m->partial[turn], m->mapped[turn], NULL);
	m->mapped[turn] = NULL;
}

static void forget_exchanges(member *m)
{
	for (uint32_t i = 0; i < m->n_exchanges; i++) {
		evn_event_free(m->exchanges[i].ready);
		evn_event_free(m->exchanges[i].resumed);
	}
	m->n_exchanges = 0;
	evn_event_free(m->step_begin);
	m->step_begin = NULL;
}

void evn_group_reset(evn_group *g)
{
	for (uint32_t i = 0; i < g->n_ranks && g->ranks[i].queue; i++) {
		member *m = &g->ranks[i];
		for (uint32_t k = 0; k < WAYS; k++)
			forget_mapping(m, k);
		evn_queue_finish(m->queue, NULL);
		forget_exchanges(m);
		m->turn = 0;
	}
	evn_meeting_reset(&g->meeting);
}

void evn_group_step_begin(evn_group *g, uint32_t rank)
{
	member *m = &g->ranks[rank];
	m->since_ns = evn_now_ns();
	if (g->reduce == EVN_REDUCE_EVENTS)
		evn_event_last(&m->step_begin, m->queue, NULL);
}

/* Between a wait that is over and the next partial that is written the device worked; after it, it waited. */
static void count_exchanges(member *m, const evn_event *end)
{
	uint64_t at = m->step_begin ? evn_event_end_ns(m->step_begin) : 0;
	for (uint32_t i = 0; i < m->n_exchanges && at; i++) {
		uint64_t ready = evn_event_end_ns(m->exchanges[i].ready), resumed = evn_event_end_ns(m->exchanges[i].resumed);
		m->times.busy_ns += ready > at ? ready - at : 0;
		m->times.wait_ns += resumed > ready ? resumed - ready : 0;
		at = resumed;
	}
	uint64_t over = evn_event_end_ns(end);
	m->times.busy_ns += at && over > at ? over - at : 0;
}

evn_status evn_group_step_end(evn_group *g, uint32_t rank, evn_error *err)
{
	member *m = &g->ranks[rank];
	evn_event *end = NULL;
	if (g->reduce == EVN_REDUCE_EVENTS)
		EVN_TRY(evn_event_last(&end, m->queue, err));
	evn_status s = evn_queue_finish(m->queue, err);
	if (end) {
		count_exchanges(m, end);
		evn_event_free(end);
		/* Others may still have to enqueue waits on these events: all have when all are here. */
		if (s == EVN_OK)
			s = evn_group_meet(g, err);
		forget_exchanges(m);
	} else {
		m->times.busy_ns += evn_now_ns() - m->since_ns;
	}
	return s;
}

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

/* The partial stays mapped until the next meeting but one: others may read it until they reach the next meeting. */
static evn_status reduce_on_host(evn_group *g, uint32_t rank, evn_buf *x, uint64_t n_floats, uint32_t contributors,
                                 evn_error *err)
{
	member *m = &g->ranks[rank];
	uint32_t turn = m->turn;
	uint64_t bytes = n_floats * sizeof(float);
	void *mapped = NULL, *x_host;
	if (contributors >> rank & 1)
		EVN_TRY(evn_map(m->queue, m->partial[turn], bytes, EVN_MAP_READ, false, &mapped, err));
	m->mapped[turn] = mapped;
	EVN_TRY(evn_map(m->queue, x, bytes, EVN_MAP_UPDATE, true, &x_host, err));
	uint64_t arrived = evn_now_ns();
	m->times.busy_ns += arrived - m->since_ns;
	evn_status s = evn_group_meet(g, err);
	m->since_ns = evn_now_ns();
	m->times.wait_ns += m->since_ns - arrived;
	if (s == EVN_OK) {
		const float *partials[EVN_MAX_RANKS];
		uint32_t n = 0;
		for (uint32_t i = 0; i < g->n_ranks; i++)
			if (contributors >> i & 1)
				partials[n++] = g->ranks[i].mapped[turn];
		add_in_rank_order(x_host, partials, n, n_floats);
	}
	evn_status unmapped = evn_unmap(m->queue, x, x_host, s == EVN_OK ? err : NULL);
	forget_mapping(m, turn ^ 1);
	return s != EVN_OK ? s : unmapped;
}

static evn_status enqueue_sum(evn_group *g, member *m, uint32_t turn, evn_buf *x, uint64_t n_floats,
                              uint32_t contributors, evn_error *err)
{
	evn_buf *partials[EVN_MAX_RANKS];
	uint32_t n = 0;
	for (uint32_t i = 0; i < g->n_ranks; i++)
		if (contributors >> i & 1)
			partials[n++] = g->ranks[i].partial[turn];
	evn_args a = evn_args_begin(m->add);
	evn_arg_buf(&a, x);
	evn_arg_u32(&a, n);
	for (uint32_t i = 0; i < EVN_MAX_RANKS; i++)
		evn_arg_buf(&a, partials[i < n ? i : 0]);
	return evn_launch(&a, 1, (size_t[]){n_floats / 16}, (size_t[]){1}, err);
}

/* Every rank waits for every other, also for those that contribute nothing: a rank's next but one partial goes to the
 * buffer that the others read now, and their being past the next meeting is what makes that safe. */
static evn_status reduce_by_events(evn_group *g, uint32_t rank, evn_buf *x, uint64_t n_floats, uint32_t contributors,
                                   evn_error *err)
{
	member *m = &g->ranks[rank];
	if (g->n_ranks > 1) {
		if (m->n_exchanges == MAX_EXCHANGES)
			return evn_fail(err, EVN_ERR_LIMIT, "more than %d meetings in one step", MAX_EXCHANGES);
		uint32_t at = m->n_exchanges++;
		m->exchanges[at] = (exchange){0};
		EVN_TRY(evn_event_last(&m->exchanges[at].ready, m->queue, err));
		EVN_TRY(evn_queue_flush(m->queue, err));
		EVN_TRY(evn_group_meet(g, err));
		evn_event *others[EVN_MAX_RANKS];
		size_t n = 0;
		for (uint32_t i = 0; i < g->n_ranks; i++)
			if (i != rank)
				others[n++] = g->ranks[i].exchanges[at].ready;
		EVN_TRY(evn_queue_wait(m->queue, others, n, &m->exchanges[at].resumed, err));
	}
	return enqueue_sum(g, m, m->turn, x, n_floats, contributors, err);
}

evn_status evn_all_reduce(evn_group *g, uint32_t rank, evn_buf *x, uint64_t n_floats, uint32_t contributors,
                          evn_error *err)
{
	member *m = &g->ranks[rank];
	EVN_TRY(g->reduce == EVN_REDUCE_EVENTS ? reduce_by_events(g, rank, x, n_floats, contributors, err)
	                                       : reduce_on_host(g, rank, x, n_floats, contributors, err));
	m->turn ^= 1;
	return EVN_OK;
}

/* Many meetings to a step, as a decoder has them: waiting for the device at the end of a step is shared by all. */
evn_status evn_group_time_all_reduce(evn_group *g, uint32_t rank, uint64_t n_floats, uint32_t n, double *us,
                                     evn_error *err)
{
	enum { PER_STEP = 16 };
	member *m = &g->ranks[rank];
	evn_buf *x;
	EVN_TRY(evn_buf_create(&x, evn_queue_device(m->queue), n_floats * sizeof(float), EVN_BUF_HOST_VISIBLE, "message", err));
	evn_status s = evn_fill_zero(m->queue, x, err);
	uint32_t all = (uint32_t)((1ull << g->n_ranks) - 1);
	for (uint32_t i = 0; i < n && s == EVN_OK; i++) {
		uint64_t began = evn_now_ns();
		evn_group_step_begin(g, rank);
		for (uint32_t k = 0; k < PER_STEP && s == EVN_OK; k++)
			s = evn_all_reduce(g, rank, x, n_floats, all, err);
		if (s == EVN_OK)
			s = evn_group_step_end(g, rank, err);
		if (us)
			us[i] = (double)(evn_now_ns() - began) * 1e-3 / PER_STEP;
	}
	evn_buf_free(x);
	return s;
}
