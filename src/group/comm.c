/* comm.c - creates the ranks' communicator, selects the method that reduces a message, and measures steps. */
#include "group/comm.h"

#include <stdlib.h>
#include <string.h>

#include "group/method.h"

static bool is_long(const evn_sum *s) { return (uint64_t)s->n_rows * s->stride > EVN_SHORT_FLOATS; }

static const evn_reduce_method *const methods[] = {
	[EVN_REDUCE_HOST] = &evn_reduce_by_host,
	[EVN_REDUCE_EVENTS] = &evn_reduce_by_events,
	[EVN_REDUCE_FLAGS] = &evn_reduce_by_flags,
};

const char *evn_reduce_name(evn_reduce r) { return methods[r] ? methods[r]->name : "none"; }

bool evn_one_context(const evn_comm *c)
{
	for (uint32_t i = c->begin + 1; i < c->end; i++)
		if (!evn_devices_share_context(evn_queue_device(c->members[c->begin].queue),
									   evn_queue_device(c->members[i].queue)))
			return false;
	return true;
}

/* ---- creation -------------------------------------------------------------------------------------------------- */

static evn_status choose_methods(evn_comm *c, const evn_comm_config *config, evn_error *err)
{
	const bool one_context = evn_one_context(c);
	const evn_reduce reduce = config->reduce;
	if (reduce == EVN_REDUCE_EVENTS && !one_context)
		return evn_fail(err, EVN_ERR_USAGE,
						"reduce: events needs all devices on one platform; use host, flags or auto");
	c->large = c->small = &c->reducers[0];
	if (c->nodes) {
		c->large->method = &evn_reduce_by_nodes;
		return EVN_OK;
	}
	c->large->method = methods[one_context && reduce != EVN_REDUCE_HOST ? EVN_REDUCE_EVENTS : EVN_REDUCE_HOST];
	if ((reduce == EVN_REDUCE_FLAGS || config->flags_later) && evn_n_added(c) > 1)
		c->reducers[1].method = methods[EVN_REDUCE_FLAGS];
	if (reduce == EVN_REDUCE_FLAGS && evn_n_added(c) > 1)
		c->small = &c->reducers[1];
	return EVN_OK;
}

static bool all_cpus(const evn_comm *c)
{
	bool all = true;
	for (uint32_t i = c->begin; i < c->end; i++)
		all &= evn_device_is_cpu(evn_queue_device(c->members[i].queue));
	return all;
}

static evn_status create(evn_comm *c, const evn_comm_config *config, evn_error *err)
{
	EVN_TRY(choose_methods(c, config, err));
	const bool by_flags = c->reducers[1].method && c->reducers[1].method->in_host_memory;
	EVN_TRY(evn_store_create(&c->partials, c, evn_message_format_of(EVN_MESSAGES_F32),
							 by_flags || (c->nodes && all_cpus(c)), err));
	if (config->messages != EVN_MESSAGES_F32 && evn_n_added(c) > 1) {
		c->packing = evn_message_format_of(config->messages);
		EVN_TRY(evn_store_create(&c->packed, c, c->packing, false, err));
	}
	for (size_t i = 0; i < 2; i++)
		if (c->reducers[i].method)
			EVN_TRY(c->reducers[i].method->create(&c->reducers[i].own, c, err));
	return EVN_OK;
}

evn_status evn_comm_create(evn_comm **out, const evn_comm_config *config, evn_error *err)
{
	const uint32_t n = config->n_ranks;
	evn_comm *c = *out = calloc(1, sizeof *c);
	if (!c)
		return evn_fail_memory(err, "communicator", sizeof *c);
	if (n > EVN_COMM_RANKS)
		return evn_fail(err, EVN_ERR_LIMIT, "a communicator of %u ranks: expected at most %d", n, EVN_COMM_RANKS);
	c->deadline_ms = config->deadline_ms ? config->deadline_ms : EVN_COMM_DEADLINE_MS;
	const evn_comm_nodes *nodes = config->nodes && config->nodes->nodes ? config->nodes : NULL;
	c->nodes = nodes && !nodes->apart ? nodes : NULL;
	c->begin = nodes ? nodes->first[evn_nodes_index(nodes->nodes)] : 0;
	c->end = nodes ? nodes->first[evn_nodes_index(nodes->nodes) + 1] : n;
	if (!evn_barrier_init(&c->barrier, c->end - c->begin, c->deadline_ms))
		return evn_fail_memory(err, "barrier", 0);
	c->max_floats = config->max_floats;
	c->members = calloc(n, sizeof *c->members);
	if (!c->members)
		return evn_fail_memory(err, "communicator", n * sizeof *c->members);
	c->n_ranks = n;
	c->taking_part = c->nodes || !nodes ? UINT64_MAX >> (64 - n) : evn_comm_ranks_from(c->begin, c->end);
	for (uint32_t i = c->begin; i < c->end; i++)
		c->members[i].queue = config->queues[i];
	return create(c, config, err);
}

evn_reduce evn_comm_reduce(const evn_comm *c) { return c->small->method->reduce; }
evn_comm_times evn_comm_rank_times(const evn_comm *c, uint32_t rank) { return c->members[rank].times; }
void evn_comm_set_rank_times(evn_comm *c, uint32_t rank, evn_comm_times times) { c->members[rank].times = times; }

bool evn_comm_takes_part(const evn_comm *c, uint32_t rank) { return c->taking_part >> rank & 1; }
uint32_t evn_comm_first(const evn_comm *c) { return (uint32_t)__builtin_ctzll(c->taking_part); }

bool evn_comm_uses_flags(const evn_comm *c) { return c->small != c->large; }

bool evn_comm_has_flags(const evn_comm *c) { return c->reducers[1].method && !c->flags_failed; }

bool evn_comm_use_flags(evn_comm *c, bool on)
{
	if (on == evn_comm_uses_flags(c) || (on && !evn_comm_has_flags(c)))
		return false;
	evn_log(EVN_LOG_INFO, "short partial sums are reduced by %s from now on, no longer by %s",
			on ? c->reducers[1].method->name : c->large->method->name, c->small->method->name);
	c->small = on ? &c->reducers[1] : c->large;
	return true;
}

bool evn_comm_fall_back(evn_comm *c)
{
	c->flags_failed = true;
	return evn_comm_use_flags(c, false);
}

/* ---- collectives ----------------------------------------------------------------------------------------------- */

evn_buf *evn_comm_partial(const evn_comm *c, uint32_t rank, uint32_t stream)
{
	return evn_store_next(&c->partials, c, rank, stream)->of[rank];
}

/* With flags, messages overlap because the host takes no part; with staging, because they travel while the device
 * computes. */
bool evn_comm_overlaps(const evn_comm *c, uint64_t n_floats)
{
	const bool possible = c->partials.stages || (c->small->method->in_host_memory && !c->packing);
	return possible && !c->nodes && n_floats > EVN_SHORT_FLOATS && n_floats <= c->max_floats / 2;
}

/* Long messages use flags only if two of them are in flight at once. */
static const evn_reducer *reducer_of(const evn_comm *c, const evn_sum *s)
{
	return evn_packs(c, s) || (is_long(s) && !s->overlaps) ? c->large : c->small;
}

evn_status evn_comm_all_reduce(evn_comm *c, uint32_t rank, const evn_sum *s, evn_error *err)
{
	EVN_TRY(evn_comm_all_reduce_begin(c, rank, s, err));
	return evn_comm_all_reduce_end(c, rank, s, err);
}

evn_status evn_comm_all_reduce_begin(evn_comm *c, uint32_t rank, const evn_sum *s, evn_error *err)
{
	EVN_TRY(evn_comm_check(c, err));
	const evn_reducer *r = reducer_of(c, s);
	return r->method->begin ? r->method->begin(r->own, c, rank, s, err) : EVN_OK;
}

evn_status evn_comm_all_reduce_end(evn_comm *c, uint32_t rank, const evn_sum *s, evn_error *err)
{
	EVN_TRY(evn_comm_check(c, err));
	const evn_reducer *r = reducer_of(c, s);
	EVN_TRY(evn_trace_arrives(c, rank, s, r->method->reduce == EVN_REDUCE_HOST, err));
	EVN_TRY(r->method->end(r->own, c, rank, s, err));
	c->members[rank].index[s->stream] ^= 1;
	return evn_trace_has_added(c, rank, err);
}

/* The check at the end tells a thread that returns late from the driver that the step is over. */
evn_status evn_comm_gather(evn_comm *c, uint32_t rank, const evn_gather *g, evn_error *err)
{
	evn_member *m = &c->members[rank];
	const bool staged = !evn_device_unified_memory(evn_queue_device(m->queue)) && g->n_rows && g->n_columns;
	evn_wait_begins(m);
	evn_status s = staged ? evn_stage_gather(m, g, err) : EVN_OK;
	for (uint32_t t = 0; t < g->n_rows && g->n_columns && !staged && s == EVN_OK; t++)
		s = evn_read(m->queue, g->from, (uint64_t)t * g->from_stride * sizeof(float),
					 g->to + (uint64_t)t * g->to_stride + g->column, g->n_columns * sizeof(float), err);
	evn_wait_ends(m);
	return s == EVN_OK ? evn_comm_check(c, err) : s;
}

evn_status evn_comm_broadcast(evn_comm *c, uint32_t rank, evn_buf *to, const float *from, uint64_t n_floats,
							  evn_error *err)
{
	evn_member *m = &c->members[rank];
	const uint64_t bytes = n_floats * sizeof(float);
	evn_wait_begins(m);
	evn_status s = evn_device_unified_memory(evn_queue_device(m->queue))
					   ? evn_write(m->queue, to, 0, from, bytes, err)
					   : evn_write_later(m->queue, to, 0, from, bytes, NULL, err);
	evn_wait_ends(m);
	return s == EVN_OK ? evn_comm_check(c, err) : s;
}

evn_status evn_comm_finish(evn_comm *c, uint32_t rank, evn_error *err)
{
	evn_member *m = &c->members[rank];
	evn_wait_begins(m);
	evn_status s = evn_queue_finish(m->queue, err);
	evn_wait_ends(m);
	return s == EVN_OK ? evn_comm_check(c, err) : s;
}

evn_status evn_comm_wait(evn_comm *c, uint32_t rank, evn_event *e, evn_error *err)
{
	evn_member *m = &c->members[rank];
	evn_wait_begins(m);
	evn_status s = evn_event_wait(e, m->queue, err);
	evn_wait_ends(m);
	return s == EVN_OK ? evn_comm_check(c, err) : s;
}

/* ---- cancelling and deadlines ---------------------------------------------------------------------------------- */

static const char *device_name(const evn_comm *c, uint32_t rank)
{
	return evn_device_name(evn_queue_device(c->members[rank].queue));
}

static evn_status fail_late(const evn_comm *c, uint32_t late, evn_error *err)
{
	return evn_fail(err, EVN_ERR_DEVICE, "%s did not reach an all-reduce for which the other ranks waited",
					device_name(c, late));
}

/* The rank that other ranks' kernels waited for in vain, or -1. */
static int find_late(const evn_comm *c)
{
	const evn_reducer *r = c->small;
	return r->method->late ? r->method->late(r->own) : -1;
}

evn_status evn_comm_check(evn_comm *c, evn_error *err)
{
	if (c->lost)
		return evn_fail(err, EVN_ERR_DEVICE, "a device of this communicator hangs");
	return atomic_load(&c->barrier.cancelled) ? evn_fail(err, EVN_ERR_CANCELLED, "the step was cancelled") : EVN_OK;
}

/* The rank that did not reach a barrier in time, or -1. */
static int late_at_barrier(const evn_comm *c)
{
	const int late = atomic_load(&c->barrier.late);
	return late < 0 ? late : late + (int)c->begin;
}

evn_status evn_comm_barrier(evn_comm *c, uint32_t rank, evn_error *err)
{
	if (evn_barrier_wait(&c->barrier, rank - c->begin))
		return EVN_OK;
	const int late = late_at_barrier(c);
	return late < 0 || (uint32_t)late == rank ? evn_comm_check(c, err) : fail_late(c, (uint32_t)late, err);
}

void evn_comm_cancel(evn_comm *c) { evn_barrier_cancel(&c->barrier); }

void evn_wait_begins(evn_member *m) { atomic_store(&m->waits_since_ns, evn_now_ns()); }
void evn_wait_ends(evn_member *m) { atomic_store(&m->waits_since_ns, 0); }

bool evn_comm_waits(const evn_comm *c, uint32_t rank) { return atomic_load(&c->members[rank].waits_since_ns) != 0; }

/* The number of the member's events that have completed. Its thread must not change them meanwhile. */
static uint32_t count_arrived(const evn_member *m)
{
	uint32_t n = 0;
	while (n < m->n_exchanges && m->exchanges[n].arrived && evn_event_done(m->exchanges[n].arrived))
		n++;
	return n;
}

/* Whether a thread has waited for its device for ms, in a collective or in the middle of its own work. It is then
 * inside a driver call and changes nothing. */
static bool has_waited(const evn_member *m, uint64_t ms)
{
	uint64_t since = atomic_load(&m->waits_since_ns);
	since = since || !m->queue ? since : evn_queue_waits_since_ns(m->queue);
	return since && evn_now_ns() >= since + ms * 1000000;
}

/* If devices wait for each other's events, all threads wait for the one device that hangs. It is the one with the
 * fewest completed events. Its own thread may have begun to wait a little later than the first one whose time is
 * over, but not by half of that time. */
static int find_stuck(const evn_comm *c)
{
	uint32_t least = UINT32_MAX;
	int stuck = -1;
	bool over = false;
	for (uint32_t i = 0; i < c->n_ranks; i++)
		over |= has_waited(&c->members[i], c->deadline_ms);
	for (uint32_t i = 0; i < c->n_ranks && over; i++) {
		if (!has_waited(&c->members[i], c->deadline_ms / 2))
			continue;
		const uint32_t n = count_arrived(&c->members[i]);
		stuck = n < least ? (int)i : stuck;
		least = n < least ? n : least;
	}
	return stuck;
}

static bool report_late(const evn_comm *c, int rank, bool hangs, evn_fault *out)
{
	*out = (evn_fault){.rank = (uint32_t)rank, .status = EVN_ERR_DEVICE, .hangs = hangs};
	fail_late(c, out->rank, &out->err);
	return true;
}

/* A rank that kernels gave up waiting for may still arrive, because a kernel waits only for seconds. It counts as
 * hanging after the deadline. */
bool evn_comm_find_fault(evn_comm *c, evn_fault *out)
{
	const uint64_t now = evn_now_ns();
	int rank = late_at_barrier(c);
	if (rank >= 0)
		return report_late(c, rank, true, out);
	rank = find_stuck(c);
	if (rank >= 0) {
		*out = (evn_fault){.rank = (uint32_t)rank, .status = EVN_ERR_DEVICE, .hangs = true};
		evn_fail(&out->err, EVN_ERR_DEVICE, "%s did not finish its queue within %.1f s", device_name(c, out->rank),
				 (double)c->deadline_ms / 1000);
		return true;
	}
	rank = find_late(c);
	c->late_since_ns = rank < 0 ? 0 : c->late_since_ns ? c->late_since_ns : now;
	return rank >= 0 && report_late(c, rank, now - c->late_since_ns > c->deadline_ms * 1000000, out);
}

/* ---- steps ----------------------------------------------------------------------------------------------------- */

evn_status evn_exchange_add(evn_member *m, evn_exchange **out, evn_error *err)
{
	if (m->n_exchanges == m->max_exchanges) {
		const uint32_t n = m->max_exchanges ? 2 * m->max_exchanges : 256;
		evn_exchange *more = realloc(m->exchanges, n * sizeof *more);
		if (!more)
			return evn_fail_memory(err, "events", n * sizeof *more);
		m->exchanges = more;
		m->max_exchanges = n;
	}
	*out = &m->exchanges[m->n_exchanges++];
	**out = (evn_exchange){0};
	return EVN_OK;
}

static void free_exchanges(evn_member *m)
{
	for (uint32_t i = 0; i < m->n_exchanges; i++) {
		evn_event_free(m->exchanges[i].arrived);
		evn_event_free(m->exchanges[i].resumed);
	}
	m->n_exchanges = 0;
	evn_event_free(m->step_begin);
	m->step_begin = NULL;
	evn_trace_forget(m);
}

#define LEAST_MS 100u /* even an idle queue needs some time to finish */

/* Finishes every queue within one common deadline. */
static evn_status finish_all(evn_comm *c, uint64_t ms, evn_error *err)
{
	const uint64_t until = evn_now_ns() + ms * 1000000;
	for (uint32_t i = c->begin; i < c->end; i++) {
		const uint64_t now = evn_now_ns();
		const uint64_t left_ms = now < until ? (until - now) / 1000000 : 0;
		EVN_TRY(evn_queue_finish_within(c->members[i].queue, left_ms > LEAST_MS ? left_ms : LEAST_MS, err));
		if (c->members[i].transfers)
			EVN_TRY(evn_queue_finish_within(c->members[i].transfers, LEAST_MS, err));
	}
	return EVN_OK;
}

static void reset_methods(evn_comm *c)
{
	for (size_t i = 0; i < 2; i++)
		if (c->reducers[i].own && c->reducers[i].method->reset)
			c->reducers[i].method->reset(c->reducers[i].own, c);
}

static evn_status reset(evn_comm *c, uint64_t ms, evn_error *err)
{
	EVN_TRY(finish_all(c, ms, err)); /* copies may still read messages that the host has mapped */
	reset_methods(c);
	EVN_TRY(finish_all(c, ms, err));
	evn_stages_reset(&c->partials, c);
	evn_stages_reset(&c->packed, c);
	for (uint32_t i = 0; i < c->n_ranks; i++) {
		free_exchanges(&c->members[i]);
		memset(c->members[i].index, 0, sizeof c->members[i].index);
		evn_wait_ends(&c->members[i]);
	}
	evn_barrier_reset(&c->barrier);
	return EVN_OK;
}

evn_status evn_comm_reset(evn_comm *c, evn_error *err)
{
	if (c->lost)
		return evn_comm_check(c, err);
	evn_status s = reset(c, c->deadline_ms, err);
	c->lost = s != EVN_OK;
	return s;
}

/* All ranks begin anew, because those that were away have not counted the sums of the others. */
void evn_comm_take_part(evn_comm *c, uint64_t ranks)
{
	if (ranks == c->taking_part)
		return;
	c->taking_part = ranks;
	reset_methods(c);
	evn_stages_reset(&c->partials, c);
	evn_stages_reset(&c->packed, c);
	for (uint32_t i = 0; i < c->n_ranks; i++)
		memset(c->members[i].index, 0, sizeof c->members[i].index);
	evn_barrier_expect(&c->barrier, ranks >> c->begin);
}

bool evn_comm_free(evn_comm *c)
{
	if (!c)
		return true;
	c->lost = c->members && reset(c, c->lost ? 0 : c->deadline_ms, NULL) != EVN_OK;
	if (c->lost)
		return false;
	for (size_t i = 0; i < 2; i++)
		if (c->reducers[i].method)
			c->reducers[i].method->free(c->reducers[i].own, c);
	evn_store_free(&c->packed, c);
	evn_store_free(&c->partials, c);
	for (uint32_t i = 0; i < c->n_ranks; i++) {
		evn_pinned_free(&c->members[i].output, c->members[i].queue);
		evn_queue_free(c->members[i].transfers);
		free(c->members[i].exchanges);
		evn_trace_free(&c->members[i]);
	}
	free(c->members);
	evn_barrier_destroy(&c->barrier);
	free(c);
	return true;
}

void evn_comm_step_begin(evn_comm *c, uint32_t rank)
{
	evn_member *m = &c->members[rank];
	m->since_ns = evn_now_ns();
	evn_event_last(&m->step_begin, m->queue, NULL);
	evn_trace_step_begins(m);
}

/* The device worked from the end of one wait to the next arrival, and waited from there to the end of the next wait.
 * With flags the wait is a kernel, whose beginning is the arrival. */
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

/* If a step fails, its events stay until the reset, because other ranks may be about to wait for them. */
evn_status evn_comm_step_end(evn_comm *c, uint32_t rank, evn_error *err)
{
	evn_member *m = &c->members[rank];
	evn_event *end = NULL;
	EVN_TRY(evn_event_last(&end, m->queue, err));
	evn_status s = evn_comm_finish(c, rank, err);
	if (s == EVN_OK && m->n_exchanges)
		count_exchanges(m, end);
	else
		m->times.busy_ns += evn_now_ns() - m->since_ns;
	if (s == EVN_OK)
		evn_trace_step_ended(m, end);
	evn_event_free(end);
	const int late = find_late(c);
	if (s == EVN_OK && late >= 0)
		s = fail_late(c, (uint32_t)late, err);
	if (s == EVN_OK) /* after the barrier no rank will enqueue another wait for this rank's events */
		s = evn_comm_barrier(c, rank, err);
	if (s == EVN_OK)
		free_exchanges(m);
	return s;
}
