/* comm.c - ranks, their message buffers, and the methods that sum. */
#include "group/comm.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "group/method.h"

#define SMALL_FLOATS (1u << 16)

/* Of short messages the latency matters most; flags are for them. */
static bool is_long(const evn_sum *s) { return (uint64_t)s->n_rows * s->stride > SMALL_FLOATS; }

static const evn_reduce_method methods[] = {
	[EVN_REDUCE_AUTO] = {.name = "none"},
	[EVN_REDUCE_HOST] = {EVN_REDUCE_HOST, "host", evn_reduce_on_host, NULL},
	[EVN_REDUCE_EVENTS] = {EVN_REDUCE_EVENTS, "events", evn_reduce_by_events, NULL},
	[EVN_REDUCE_FLAGS] = {EVN_REDUCE_FLAGS, "flags", evn_reduce_by_flags, evn_arrive_by_flags},
};

const char *evn_reduce_name(evn_reduce r) { return methods[r].name; }

bool evn_one_context(const evn_comm *c)
{
	for (uint32_t i = 1; i < c->n_ranks; i++)
		if (!evn_devices_share_context(evn_queue_device(c->ranks[0].queue), evn_queue_device(c->ranks[i].queue)))
			return false;
	return true;
}

static evn_status choose_methods(evn_comm *c, evn_reduce reduce, bool shared_context, evn_error *err)
{
	if (reduce == EVN_REDUCE_EVENTS && !shared_context)
		return evn_fail(err, EVN_ERR_USAGE,
						"reduce: events needs all devices on one platform; use host, flags or auto");
	c->large = &methods[shared_context && reduce != EVN_REDUCE_HOST ? EVN_REDUCE_EVENTS : EVN_REDUCE_HOST];
	c->small = reduce == EVN_REDUCE_FLAGS && c->n_ranks > 1 ? &methods[EVN_REDUCE_FLAGS] : c->large;
	return EVN_OK;
}

evn_status evn_comm_create(evn_comm **out, evn_queue *const *queues, uint32_t n_ranks, evn_reduce reduce,
						   evn_message_type messages, uint64_t max_floats, evn_error *err)
{
	evn_comm *c = *out = calloc(1, sizeof *c);
	if (!c)
		return evn_fail_memory(err, "communicator", sizeof *c);
	evn_barrier_init(&c->barrier, n_ranks);
	c->n_ranks = n_ranks;
	c->max_floats = max_floats;
	for (uint32_t i = 0; i < n_ranks; i++)
		c->ranks[i].queue = queues[i];
	EVN_TRY(choose_methods(c, reduce, evn_one_context(c), err));
	EVN_TRY(c->small->reduce == EVN_REDUCE_FLAGS
				? evn_flags_create(c, err)
				: evn_parts_create(c, evn_message_format_of(EVN_MESSAGES_F32), false, err));
	if (messages == EVN_MESSAGES_F32 || n_ranks == 1)
		return EVN_OK;
	c->packing = evn_message_format_of(messages);
	return evn_parts_create(c, c->packing, true, err);
}

void evn_comm_free(evn_comm *c)
{
	if (!c)
		return;
	evn_comm_reset(c);
	evn_parts_free(c, false);
	evn_parts_free(c, true);
	for (uint32_t i = 0; i < c->n_ranks; i++)
		evn_buf_free(c->ranks[i].shared);
	free(c->shared);
	evn_barrier_destroy(&c->barrier);
	free(c);
}

evn_reduce evn_comm_reduce(const evn_comm *c) { return c->small->reduce; }
evn_comm_times evn_comm_rank_times(const evn_comm *c, uint32_t rank) { return c->ranks[rank].times; }
void evn_comm_cancel(evn_comm *c) { evn_barrier_cancel(&c->barrier); }

bool evn_comm_fall_back(evn_comm *c)
{
	bool falls = c->small != c->large;
	if (falls)
		evn_log(EVN_LOG_INFO, "partial sums are reduced by %s from now on, no longer by %s", c->large->name,
				c->small->name);
	c->small = c->large;
	return falls;
}

evn_buf *evn_comm_partial(const evn_comm *c, uint32_t rank, uint32_t slot)
{
	return c->ranks[rank].partials.bufs[evn_buffer_of(&c->ranks[rank], slot)][rank];
}

/* Only flags let messages pass without the host. */
bool evn_comm_overlaps(const evn_comm *c, uint64_t n_floats)
{
	return c->small->begin && !c->packing && n_floats > SMALL_FLOATS && n_floats <= c->max_floats / 2;
}

/* Long messages go by flags where two of them are on their method at once. */
static const evn_reduce_method *method_of(const evn_comm *c, const evn_sum *s)
{
	return evn_packs(c, s) || (is_long(s) && !s->overlaps) ? c->large : c->small;
}

static evn_status cancelled(evn_error *err) { return evn_fail(err, EVN_ERR_CANCELLED, "the step was cancelled"); }

evn_status evn_comm_barrier(evn_comm *c, evn_error *err)
{
	return evn_barrier_wait(&c->barrier) ? EVN_OK : cancelled(err);
}

evn_status evn_comm_check(evn_comm *c, evn_error *err)
{
	return atomic_load(&c->barrier.cancelled) ? cancelled(err) : EVN_OK;
}

evn_status evn_comm_all_reduce(evn_comm *c, uint32_t rank, const evn_sum *s, evn_error *err)
{
	EVN_TRY(evn_comm_all_reduce_begin(c, rank, s, err));
	return evn_comm_all_reduce_end(c, rank, s, err);
}

evn_status evn_comm_all_reduce_begin(evn_comm *c, uint32_t rank, const evn_sum *s, evn_error *err)
{
	const evn_reduce_method *method = method_of(c, s);
	return method->begin ? method->begin(c, rank, s, err) : EVN_OK;
}

evn_status evn_comm_all_reduce_end(evn_comm *c, uint32_t rank, const evn_sum *s, evn_error *err)
{
	EVN_TRY(method_of(c, s)->all_reduce(c, rank, s, err));
	c->ranks[rank].index[s->slot] ^= 1;
	return EVN_OK;
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

void evn_comm_reset(evn_comm *c)
{
	for (uint32_t i = 0; i < c->n_ranks && c->ranks[i].queue; i++)
		evn_queue_finish(c->ranks[i].queue, NULL); /* copies read what others have mapped */
	for (uint32_t i = 0; i < c->n_ranks && c->ranks[i].queue; i++) {
		evn_member *m = &c->ranks[i];
		for (uint32_t index = 0; index < EVN_BUFFERS; index++)
			evn_forget_mapping(m, index);
		evn_queue_finish(m->queue, NULL);
		forget_exchanges(m);
		memset(m->index, 0, sizeof m->index);
	}
	evn_flags_reset(c);
	evn_barrier_reset(&c->barrier);
}

void evn_comm_step_begin(evn_comm *c, uint32_t rank)
{
	evn_member *m = &c->ranks[rank];
	m->since_ns = evn_now_ns();
	evn_event_last(&m->step_begin, m->queue, NULL);
}

/* Between the end of a wait and the next arrival the device worked; after it, it waited. With flags the wait is a
 * kernel, whose beginning is the arrival. */
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

static evn_status check_late(const evn_comm *c, uint32_t rank, evn_error *err)
{
	int late = evn_flags_late(c);
	if (late < 0)
		return EVN_OK;
	return evn_fail(err, EVN_ERR_DEVICE, "%s waited in vain for %s to reach an all-reduce",
					evn_device_name(evn_queue_device(c->ranks[rank].queue)),
					evn_device_name(evn_queue_device(c->ranks[late].queue)));
}

evn_status evn_comm_step_end(evn_comm *c, uint32_t rank, evn_error *err)
{
	evn_member *m = &c->ranks[rank];
	evn_event *end = NULL;
	EVN_TRY(evn_event_last(&end, m->queue, err));
	evn_status s = evn_queue_finish(m->queue, err);
	if (m->n_exchanges)
		count_exchanges(m, end);
	else
		m->times.busy_ns += evn_now_ns() - m->since_ns;
	evn_event_free(end);
	if (s == EVN_OK)
		s = check_late(c, rank, err);
	/* Others may still have to enqueue waits on this rank's events: all have when all are here. */
	if (s == EVN_OK)
		s = evn_comm_barrier(c, err);
	forget_exchanges(m);
	return s;
}

/* ---- the trial
 * ------------------------------------------------------------------------------------------------------ */

/* Small integers, so that any number of sums below 2^24 is exact. */
static float trial_value(uint32_t rank, uint64_t i) { return (float)((rank + 1) * (i % 7 + 1)); }

static evn_status fill_partials(evn_comm *c, uint32_t rank, uint64_t n_floats, evn_error *err)
{
	evn_member *m = &c->ranks[rank];
	for (uint32_t index = 0; index < EVN_BUFFERS; index++) {
		void *host;
		EVN_TRY(evn_map(m->queue, m->partials.bufs[index][rank], n_floats * sizeof(float), EVN_MAP_OVERWRITE, true,
						&host, err));
		for (uint64_t i = 0; i < n_floats; i++)
			((float *)host)[i] = trial_value(rank, i);
		EVN_TRY(evn_unmap(m->queue, m->partials.bufs[index][rank], host, err));
	}
	return evn_queue_finish(m->queue, err);
}

static evn_sum trial_sum(evn_buf *x, uint64_t n_floats, uint32_t n_ranks)
{
	evn_sum s = evn_sum_of(x, n_floats, (1ull << n_ranks) - 1);
	s.packs = is_long(&s);
	return s;
}

/* Only packed messages round. */
static float trial_bound(const evn_comm *c, const evn_sum *s, uint32_t n_sums)
{
	float largest = 0;
	for (uint32_t k = 0; k < c->n_ranks; k++)
		largest += trial_value(k, 6);
	return evn_packs(c, s) ? 1.01f * (float)c->packing->error * largest * (float)n_sums : 0;
}

static evn_status check_sums(evn_comm *c, uint32_t rank, const evn_sum *s, uint32_t n_sums, evn_error *err)
{
	evn_member *m = &c->ranks[rank];
	const float bound = trial_bound(c, s, n_sums);
	const uint64_t n_floats = s->stride;
	void *host;
	uint64_t wrong = 0;
	EVN_TRY(evn_map(m->queue, s->x, n_floats * sizeof(float), EVN_MAP_READ, true, &host, err));
	for (uint64_t i = 0; i < n_floats; i++) {
		float expected = 0;
		for (uint32_t k = 0; k < c->n_ranks; k++)
			expected += trial_value(k, i);
		wrong += !(fabsf(((const float *)host)[i] - expected * (float)n_sums) <= bound);
	}
	EVN_TRY(evn_unmap(m->queue, s->x, host, err));
	EVN_TRY(evn_queue_finish(m->queue, err));
	return wrong ? evn_fail(err, EVN_ERR_DEVICE, "reduce by %s: %llu of %llu sums are wrong on %s", c->small->name,
							(unsigned long long)wrong, (unsigned long long)n_floats,
							evn_device_name(evn_queue_device(m->queue)))
				 : EVN_OK;
}

/* As many all-reduces to a step as a decoder of 30 layers has: waiting for the device at the end of a step is shared
 * by them all. */
static evn_status time_steps(evn_comm *c, uint32_t rank, evn_buf *x, uint64_t n_floats, uint32_t n, double *us,
							 evn_error *err)
{
	enum { PER_STEP = 60 };
	const evn_sum sum = trial_sum(x, n_floats, c->n_ranks);
	EVN_TRY(evn_fill_zero(c->ranks[rank].queue, x, err));
	EVN_TRY(fill_partials(c, rank, n_floats, err));
	EVN_TRY(evn_comm_barrier(c, err));
	for (uint32_t i = 0; i < n; i++) {
		uint64_t began = evn_now_ns();
		evn_comm_step_begin(c, rank);
		for (uint32_t k = 0; k < PER_STEP; k++)
			EVN_TRY(evn_comm_all_reduce(c, rank, &sum, err));
		EVN_TRY(evn_comm_step_end(c, rank, err));
		if (us)
			us[i] = (double)(evn_now_ns() - began) * 1e-3 / PER_STEP;
	}
	return check_sums(c, rank, &sum, n * PER_STEP, err);
}

evn_status evn_comm_time_all_reduce(evn_comm *c, uint32_t rank, uint64_t n_floats, uint32_t n, double *us,
									evn_error *err)
{
	evn_buf *x;
	EVN_TRY(evn_buf_create(&x, evn_queue_device(c->ranks[rank].queue), n_floats * sizeof(float), EVN_BUF_HOST_VISIBLE,
						   "message", err));
	evn_status s = time_steps(c, rank, x, n_floats, n, us, err);
	evn_buf_free(x);
	return s;
}
