/* group.c - ranks, their exchange buffers, and which way they sum. */
#include "group/group.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "group/ways.h"

#define SMALL_FLOATS (1u << 16)

bool evn_is_long(const evn_sum *s) { return (uint64_t)s->n_tok * s->stride > SMALL_FLOATS; }

static const evn_way ways[] = {
	[EVN_REDUCE_AUTO] = {.name = "none"},
	[EVN_REDUCE_HOST] = {EVN_REDUCE_HOST, "host", evn_reduce_on_host, NULL},
	[EVN_REDUCE_EVENTS] = {EVN_REDUCE_EVENTS, "events", evn_reduce_by_events, NULL},
	[EVN_REDUCE_FLAGS] = {EVN_REDUCE_FLAGS, "flags", evn_reduce_by_flags, evn_arrive_by_flags},
};

const char *evn_reduce_name(evn_reduce r) { return ways[r].name; }

bool evn_one_context(const evn_group *g)
{
	for (uint32_t i = 1; i < g->n_ranks; i++)
		if (!evn_devices_share_context(evn_queue_device(g->ranks[0].queue), evn_queue_device(g->ranks[i].queue)))
			return false;
	return true;
}

static evn_status choose_ways(evn_group *g, evn_reduce reduce, bool shared_context, evn_error *err)
{
	if (reduce == EVN_REDUCE_EVENTS && !shared_context)
		return evn_fail(err, EVN_ERR_USAGE,
						"reduce: events needs all devices on one platform; use host, flags or auto");
	g->large = &ways[shared_context && reduce != EVN_REDUCE_HOST ? EVN_REDUCE_EVENTS : EVN_REDUCE_HOST];
	g->small = reduce == EVN_REDUCE_FLAGS && g->n_ranks > 1 ? &ways[EVN_REDUCE_FLAGS] : g->large;
	return EVN_OK;
}

evn_status evn_group_create(evn_group **out, evn_queue *const *queues, uint32_t n_ranks, evn_reduce reduce,
							evn_message_type messages, uint64_t max_floats, evn_error *err)
{
	evn_group *g = *out = calloc(1, sizeof *g);
	if (!g)
		return evn_fail_memory(err, "group", sizeof *g);
	evn_meeting_init(&g->meeting, n_ranks);
	g->n_ranks = n_ranks;
	g->max_floats = max_floats;
	for (uint32_t i = 0; i < n_ranks; i++)
		g->ranks[i].queue = queues[i];
	EVN_TRY(choose_ways(g, reduce, evn_one_context(g), err));
	EVN_TRY(g->small->reduce == EVN_REDUCE_FLAGS
				? evn_flags_create(g, err)
				: evn_parts_create(g, evn_message_format_of(EVN_MESSAGES_F32), false, err));
	if (messages == EVN_MESSAGES_F32 || n_ranks == 1)
		return EVN_OK;
	g->packing = evn_message_format_of(messages);
	return evn_parts_create(g, g->packing, true, err);
}

void evn_group_free(evn_group *g)
{
	if (!g)
		return;
	evn_group_reset(g);
	evn_parts_free(g, false);
	evn_parts_free(g, true);
	for (uint32_t i = 0; i < g->n_ranks; i++)
		evn_buf_free(g->ranks[i].shared);
	free(g->shared);
	evn_meeting_destroy(&g->meeting);
	free(g);
}

evn_reduce evn_group_reduce(const evn_group *g) { return g->small->reduce; }
evn_group_times evn_group_rank_times(const evn_group *g, uint32_t rank) { return g->ranks[rank].times; }
void evn_group_give_up(evn_group *g) { evn_meeting_give_up(&g->meeting); }

bool evn_group_fall_back(evn_group *g)
{
	bool falls = g->small != g->large;
	if (falls)
		evn_log(EVN_LOG_INFO, "devices meet by %s from now on, no longer by %s", g->large->name, g->small->name);
	g->small = g->large;
	return falls;
}

evn_buf *evn_group_partial(const evn_group *g, uint32_t rank) { return evn_group_partial_of(g, rank, 0); }

evn_buf *evn_group_partial_of(const evn_group *g, uint32_t rank, uint32_t lane)
{
	return g->ranks[rank].partials.bufs[evn_slot(&g->ranks[rank], lane)][rank];
}

/* Only flags let messages pass without the host. */
bool evn_group_overlaps(const evn_group *g, uint64_t n_floats)
{
	return g->small->begin && !g->packing && n_floats > SMALL_FLOATS && n_floats <= g->max_floats / 2;
}

/* Long messages go by flags where two of them are on their way at once. */
static const evn_way *way_of(const evn_group *g, const evn_sum *s)
{
	return evn_is_long(s) && !s->overlaps ? g->large : g->small;
}

static evn_status cancelled(evn_error *err) { return evn_fail(err, EVN_ERR_CANCELLED, "the step was given up"); }

evn_status evn_group_meet(evn_group *g, evn_error *err)
{
	return evn_meeting_wait(&g->meeting) ? EVN_OK : cancelled(err);
}

evn_status evn_group_check(evn_group *g, evn_error *err)
{
	return atomic_load(&g->meeting.given_up) ? cancelled(err) : EVN_OK;
}

evn_status evn_all_reduce_norm(evn_group *g, uint32_t rank, const evn_sum *s, evn_error *err)
{
	EVN_TRY(evn_all_reduce_begin(g, rank, s, err));
	return evn_all_reduce_end(g, rank, s, err);
}

evn_status evn_all_reduce_begin(evn_group *g, uint32_t rank, const evn_sum *s, evn_error *err)
{
	const evn_way *way = way_of(g, s);
	return way->begin ? way->begin(g, rank, s, err) : EVN_OK;
}

evn_status evn_all_reduce_end(evn_group *g, uint32_t rank, const evn_sum *s, evn_error *err)
{
	EVN_TRY(way_of(g, s)->all_reduce(g, rank, s, err));
	g->ranks[rank].turn[s->lane] ^= 1;
	return EVN_OK;
}

evn_status evn_all_reduce(evn_group *g, uint32_t rank, evn_buf *x, uint64_t n_floats, uint32_t contributors,
						  evn_error *err)
{
	const evn_sum sum = {.x = x, .n_tok = 1, .stride = (uint32_t)n_floats, .contributors = contributors};
	return evn_all_reduce_norm(g, rank, &sum, err);
}

/* ---- steps --------------------------------------------------------------------------------------------------------
 */

static void forget_exchanges(evn_member *m)
{
	for (uint32_t i = 0; i < m->n_exchanges; i++) {
		evn_event_free(m->exchanges[i].arrived);
		evn_event_free(m->exchanges[i].resumed);
	}
	m->n_exchanges = 0;
	evn_event_free(m->step_begin);
	m->step_begin = NULL;
}

void evn_group_reset(evn_group *g)
{
	for (uint32_t i = 0; i < g->n_ranks && g->ranks[i].queue; i++)
		evn_queue_finish(g->ranks[i].queue, NULL); /* copies read what others have mapped */
	for (uint32_t i = 0; i < g->n_ranks && g->ranks[i].queue; i++) {
		evn_member *m = &g->ranks[i];
		for (uint32_t turn = 0; turn < EVN_TURNS; turn++)
			evn_forget_mapping(m, turn);
		evn_queue_finish(m->queue, NULL);
		forget_exchanges(m);
		memset(m->turn, 0, sizeof m->turn);
	}
	evn_flags_reset(g);
	evn_meeting_reset(&g->meeting);
}

void evn_group_step_begin(evn_group *g, uint32_t rank)
{
	evn_member *m = &g->ranks[rank];
	m->since_ns = evn_now_ns();
	evn_event_last(&m->step_begin, m->queue, NULL);
}

/* Between the end of a wait and the next arrival the device worked; after it, it waited. A flags meeting is a kernel:
 * its beginning is the arrival. */
static void count_exchanges(evn_member *m, const evn_event *end)
{
	uint64_t at = m->step_begin ? evn_event_end_ns(m->step_begin) : 0;
	for (uint32_t i = 0; i < m->n_exchanges && at; i++) {
		const evn_exchange *x = &m->exchanges[i];
		uint64_t arrived = x->arrived ? evn_event_end_ns(x->arrived) : evn_event_begin_ns(x->resumed);
		uint64_t resumed = evn_event_end_ns(x->resumed);
		m->times.busy_ns += arrived > at ? arrived - at : 0;
		m->times.wait_ns += resumed > arrived ? resumed - arrived : 0;
		at = resumed;
	}
	uint64_t over = evn_event_end_ns(end);
	m->times.busy_ns += at && over > at ? over - at : 0;
}

static evn_status check_late(const evn_group *g, uint32_t rank, evn_error *err)
{
	int late = evn_flags_late(g);
	if (late < 0)
		return EVN_OK;
	return evn_fail(err, EVN_ERR_DEVICE, "%s waited in vain for %s to come to a meeting",
					evn_device_name(evn_queue_device(g->ranks[rank].queue)),
					evn_device_name(evn_queue_device(g->ranks[late].queue)));
}

evn_status evn_group_step_end(evn_group *g, uint32_t rank, evn_error *err)
{
	evn_member *m = &g->ranks[rank];
	evn_event *end = NULL;
	EVN_TRY(evn_event_last(&end, m->queue, err));
	evn_status s = evn_queue_finish(m->queue, err);
	if (m->n_exchanges)
		count_exchanges(m, end);
	else
		m->times.busy_ns += evn_now_ns() - m->since_ns;
	evn_event_free(end);
	if (s == EVN_OK)
		s = check_late(g, rank, err);
	/* Others may still have to enqueue waits on this rank's events: all have when all are here. */
	if (s == EVN_OK)
		s = evn_group_meet(g, err);
	forget_exchanges(m);
	return s;
}

/* ---- the trial
 * ------------------------------------------------------------------------------------------------------ */

/* Small integers, so that any number of sums below 2^24 is exact. */
static float trial_value(uint32_t rank, uint64_t i) { return (float)((rank + 1) * (i % 7 + 1)); }

static evn_status fill_partials(evn_group *g, uint32_t rank, uint64_t n_floats, evn_error *err)
{
	evn_member *m = &g->ranks[rank];
	for (uint32_t turn = 0; turn < EVN_TURNS; turn++) {
		void *host;
		EVN_TRY(evn_map(m->queue, m->partials.bufs[turn][rank], n_floats * sizeof(float), EVN_MAP_OVERWRITE, true,
						&host, err));
		for (uint64_t i = 0; i < n_floats; i++)
			((float *)host)[i] = trial_value(rank, i);
		EVN_TRY(evn_unmap(m->queue, m->partials.bufs[turn][rank], host, err));
	}
	return evn_queue_finish(m->queue, err);
}

/* Only packed messages round. */
static float trial_bound(const evn_group *g, uint64_t n_floats, uint32_t n_sums)
{
	const evn_sum sum = {.n_tok = 1, .stride = (uint32_t)n_floats};
	float largest = 0;
	for (uint32_t k = 0; k < g->n_ranks; k++)
		largest += trial_value(k, 6);
	return g->packing && evn_is_long(&sum) ? 1.01f * (float)g->packing->error * largest * (float)n_sums : 0;
}

static evn_status check_sums(evn_group *g, uint32_t rank, evn_buf *x, uint64_t n_floats, uint32_t n_sums,
							 evn_error *err)
{
	evn_member *m = &g->ranks[rank];
	const float bound = trial_bound(g, n_floats, n_sums);
	void *host;
	uint64_t wrong = 0;
	EVN_TRY(evn_map(m->queue, x, n_floats * sizeof(float), EVN_MAP_READ, true, &host, err));
	for (uint64_t i = 0; i < n_floats; i++) {
		float expected = 0;
		for (uint32_t k = 0; k < g->n_ranks; k++)
			expected += trial_value(k, i);
		wrong += !(fabsf(((const float *)host)[i] - expected * (float)n_sums) <= bound);
	}
	EVN_TRY(evn_unmap(m->queue, x, host, err));
	EVN_TRY(evn_queue_finish(m->queue, err));
	return wrong ? evn_fail(err, EVN_ERR_DEVICE, "reduce by %s: %llu of %llu sums are wrong on %s", g->small->name,
							(unsigned long long)wrong, (unsigned long long)n_floats,
							evn_device_name(evn_queue_device(m->queue)))
				 : EVN_OK;
}

/* As many meetings to a step as a decoder of 30 layers has: waiting for the device at the end of a step is shared by
 * them all. */
static evn_status time_steps(evn_group *g, uint32_t rank, evn_buf *x, uint64_t n_floats, uint32_t n, double *us,
							 evn_error *err)
{
	enum { PER_STEP = 60 };
	uint32_t all = (uint32_t)((1ull << g->n_ranks) - 1);
	EVN_TRY(evn_fill_zero(g->ranks[rank].queue, x, err));
	EVN_TRY(fill_partials(g, rank, n_floats, err));
	EVN_TRY(evn_group_meet(g, err));
	for (uint32_t i = 0; i < n; i++) {
		uint64_t began = evn_now_ns();
		evn_group_step_begin(g, rank);
		for (uint32_t k = 0; k < PER_STEP; k++)
			EVN_TRY(evn_all_reduce(g, rank, x, n_floats, all, err));
		EVN_TRY(evn_group_step_end(g, rank, err));
		if (us)
			us[i] = (double)(evn_now_ns() - began) * 1e-3 / PER_STEP;
	}
	return check_sums(g, rank, x, n_floats, n * PER_STEP, err);
}

evn_status evn_group_time_all_reduce(evn_group *g, uint32_t rank, uint64_t n_floats, uint32_t n, double *us,
									 evn_error *err)
{
	evn_buf *x;
	EVN_TRY(evn_buf_create(&x, evn_queue_device(g->ranks[rank].queue), n_floats * sizeof(float), EVN_BUF_HOST_VISIBLE,
						   "message", err));
	evn_status s = time_steps(g, rank, x, n_floats, n, us, err);
	evn_buf_free(x);
	return s;
}
