/* trace.c - when a rank computed, waited and added within a step. The events of exchanges are there anyway; a trace
 * adds an event behind each sum. Methods in which the host waits have times of the host's clock. */
#include <stdlib.h>

#include "group/method.h"

/* How far the clocks of a device and of the host may drift apart. A fit that is older holds less. */
#define DRIFT 1e-4
#define NO_EXCHANGE UINT32_MAX

typedef struct {
	uint32_t block, exchange; /* its index, or NO_EXCHANGE */
	evn_event *before;        /* of a rank that waits for nobody, or whose host waits; otherwise NULL */
	evn_event *after;
	uint64_t computed_ns; /* the device's clock; of ranks whose host waits */
	uint64_t arrived_ns, resumed_ns, added_ns;
	bool on_host; /* arrived_ns and resumed_ns are times of the host's clock */
} mark;

typedef struct evn_trace {
	mark *marks; /* of the step */
	uint32_t n, room;
	bool waited, ended; /* the host has waited in this sum; the step has ended well */
	uint64_t host_arrived_ns, host_resumed_ns;
	uint64_t began_ns, ended_ns;               /* the host's clock */
	uint64_t device_began_ns, device_ended_ns; /* 0: the driver tells no times */
	bool fitted;
	int64_t offset_ns; /* from the device's clock to the host's */
	uint64_t fitted_ns;
} evn_trace;

/* ---- what the threads of ranks note ---------------------------------------------------------------------------- */

evn_status evn_trace_arrives(evn_comm *c, uint32_t rank, const evn_sum *s, bool host_waits, evn_error *err)
{
	evn_member *m = &c->members[rank];
	evn_trace *t = m->trace;
	if (!t)
		return EVN_OK;
	if (t->n == t->room) {
		const uint32_t room = t->room ? 2 * t->room : 256;
		mark *more = realloc(t->marks, room * sizeof *more);
		if (!more)
			return evn_fail_memory(err, "trace", room * sizeof *more);
		t->marks = more;
		t->room = room;
	}
	mark *k = &t->marks[t->n++];
	*k = (mark){.block = s->block, .exchange = m->n_exchanges};
	t->waited = false;
	return host_waits || evn_n_added(c) == 1 ? evn_event_last(&k->before, m->queue, err) : EVN_OK;
}

evn_status evn_trace_has_added(evn_comm *c, uint32_t rank, evn_error *err)
{
	evn_member *m = &c->members[rank];
	evn_trace *t = m->trace;
	if (!t)
		return EVN_OK;
	mark *k = &t->marks[t->n - 1];
	if (k->exchange == m->n_exchanges)
		k->exchange = NO_EXCHANGE;
	if (t->waited) {
		k->on_host = true;
		k->arrived_ns = t->host_arrived_ns;
		k->resumed_ns = t->host_resumed_ns;
	}
	return evn_event_last(&k->after, m->queue, err);
}

void evn_trace_host_wait(evn_member *m, uint64_t arrived_ns, uint64_t resumed_ns)
{
	if (!m->trace)
		return;
	m->trace->waited = true;
	m->trace->host_arrived_ns = arrived_ns;
	m->trace->host_resumed_ns = resumed_ns;
}

/* A step that is computed again begins anew. */
void evn_trace_step_begins(evn_member *m)
{
	if (!m->trace)
		return;
	evn_trace_forget(m);
	m->trace->n = 0;
	m->trace->ended = false;
	m->trace->began_ns = m->since_ns;
}

static void read_mark(const evn_member *m, mark *k)
{
	k->added_ns = evn_event_end_ns(k->after);
	if (k->on_host) {
		k->computed_ns = evn_event_end_ns(k->before);
		return;
	}
	if (k->exchange == NO_EXCHANGE) {
		k->arrived_ns = k->resumed_ns = k->before ? evn_event_end_ns(k->before) : k->added_ns;
		return;
	}
	const evn_exchange *x = &m->exchanges[k->exchange];
	k->arrived_ns = x->arrived ? evn_event_end_ns(x->arrived) : evn_event_begin_ns(x->resumed);
	k->resumed_ns = evn_event_end_ns(x->resumed);
}

void evn_trace_step_ended(evn_member *m, const evn_event *end)
{
	evn_trace *t = m->trace;
	if (!t)
		return;
	t->ended_ns = evn_now_ns();
	t->device_began_ns = m->step_begin ? evn_event_end_ns(m->step_begin) : 0;
	t->device_ended_ns = evn_event_end_ns(end);
	for (uint32_t i = 0; i < t->n; i++)
		read_mark(m, &t->marks[i]);
	t->ended = true;
}

void evn_trace_forget(evn_member *m)
{
	for (uint32_t i = 0; m->trace && i < m->trace->n; i++) {
		mark *k = &m->trace->marks[i];
		evn_event_free(k->before);
		evn_event_free(k->after);
		k->before = k->after = NULL;
	}
}

void evn_trace_free(evn_member *m)
{
	if (!m->trace)
		return;
	evn_trace_forget(m);
	free(m->trace->marks);
	free(m->trace);
	m->trace = NULL;
}

/* ---- what they did --------------------------------------------------------------------------------------------- */

evn_status evn_comm_trace(evn_comm *c, bool on, bool kernels, evn_error *err)
{
	for (uint32_t i = c->begin; i < c->end; i++) {
		evn_member *m = &c->members[i];
		if (on == (m->trace != NULL))
			continue;
		EVN_TRY(evn_queue_finish(m->queue, err));
		EVN_TRY(on ? evn_queue_profile(m->queue, err) : EVN_OK);
		EVN_TRY(evn_queue_time_kernels(m->queue, on && kernels, err));
		if (!on)
			evn_trace_free(m);
		else if (!(m->trace = calloc(1, sizeof *m->trace)))
			return evn_fail_memory(err, "trace", sizeof *m->trace);
	}
	return EVN_OK;
}

/* A device has ended its work before the host knows it, so no offset is larger than the difference of both times. On
 * a busy machine the host may know it late. If it waits at every sum, the least of many differences counts: with a
 * larger offset, a sum would end after the host has seen the work behind it complete. */
static void fit(evn_trace *t)
{
	int64_t most = (int64_t)(t->ended_ns - t->device_ended_ns);
	for (uint32_t i = 0; i < t->n; i++) {
		const mark *k = &t->marks[i];
		const int64_t here = (int64_t)(k->arrived_ns - k->computed_ns);
		most = k->on_host && k->computed_ns && here < most ? here : most;
	}
	const int64_t drift = (int64_t)((double)(t->ended_ns - t->fitted_ns) * DRIFT);
	if (!t->fitted || most < t->offset_ns + drift)
		t->offset_ns = most;
	else
		t->offset_ns += drift;
	t->fitted = true;
	t->fitted_ns = t->ended_ns;
}

/* Devices of one context have one clock. */
static void fit_all(evn_comm *c)
{
	for (uint32_t i = c->begin; i < c->end; i++)
		if (c->members[i].trace->ended)
			fit(c->members[i].trace);
	for (uint32_t i = c->begin; i < c->end; i++)
		for (uint32_t k = c->begin; k < c->end; k++)
			if (c->members[k].trace->ended &&
				evn_devices_share_context(evn_queue_device(c->members[i].queue),
										  evn_queue_device(c->members[k].queue)) &&
				c->members[k].trace->offset_ns < c->members[i].trace->offset_ns)
				c->members[i].trace->offset_ns = c->members[k].trace->offset_ns;
}

/* From now on all times are the host's, and none is before the one before it. */
static void place(evn_trace *t)
{
	uint64_t at = t->began_ns;
	const uint64_t offset = (uint64_t)t->offset_ns; /* modulo 2^64 */
	for (uint32_t i = 0; i < t->n; i++) {
		mark *k = &t->marks[i];
		uint64_t *times[] = {&k->arrived_ns, &k->resumed_ns, &k->added_ns};
		k->added_ns = t->device_ended_ns ? k->added_ns : k->resumed_ns - offset;
		for (size_t j = 0; j < 3; j++) {
			*times[j] += j < 2 && k->on_host ? 0 : offset;
			at = *times[j] = *times[j] < at ? at : *times[j] > t->ended_ns ? t->ended_ns : *times[j];
		}
	}
	const uint64_t began = t->device_began_ns + offset;
	t->began_ns = began > t->began_ns && began < t->ended_ns ? began : t->began_ns;
}

static bool is_complete(const evn_comm *c)
{
	const uint32_t first = evn_comm_takes_part(c, c->begin) ? c->begin : evn_comm_first(c);
	for (uint32_t i = c->begin; i < c->end; i++) {
		const evn_trace *t = c->members[i].trace;
		if (!t || (evn_comm_takes_part(c, i) && (!t->ended || t->n != c->members[first].trace->n)))
			return false;
	}
	return true;
}

static uint64_t last_arrival(const evn_comm *c, uint32_t sum)
{
	uint64_t last = 0;
	for (uint32_t i = c->begin; i < c->end; i++) {
		const uint64_t at = evn_comm_takes_part(c, i) ? c->members[i].trace->marks[sum].arrived_ns : 0;
		last = at > last ? at : last;
	}
	return last;
}

typedef struct {
	evn_rank_span_fn each;
	void *user;
	uint32_t rank;
	uint64_t offset_ns;
} listener;

static void tell(const listener *l, evn_rank_act act, uint32_t block, uint64_t began, uint64_t ended)
{
	if (ended > began)
		l->each(l->user, &(evn_rank_span){l->rank, act, block, NULL, began, ended});
}

static void tell_launch(void *user, const evn_launch_span *s)
{
	const listener *l = user;
	const evn_rank_span span = {.rank = l->rank,
								.act = EVN_RANK_KERNEL,
								.block = EVN_BLOCK_NONE,
								.kernel = s->kernel,
								.began_ns = s->began_ns + l->offset_ns,
								.ended_ns = s->ended_ns + l->offset_ns};
	l->each(l->user, &span);
}

static void tell_rank(const evn_comm *c, const listener *l)
{
	const evn_trace *t = c->members[l->rank].trace;
	uint64_t at = t->began_ns;
	const bool has_times = t->device_ended_ns || (t->n && t->marks[0].on_host);
	for (uint32_t i = 0; i < t->n && has_times; i++) {
		const mark *k = &t->marks[i];
		uint64_t all = last_arrival(c, i);
		all = all < k->arrived_ns ? k->arrived_ns : all > k->resumed_ns ? k->resumed_ns : all;
		tell(l, EVN_RANK_COMPUTES, k->block, at, k->arrived_ns);
		tell(l, EVN_RANK_WAITS, k->block, k->arrived_ns, all);
		tell(l, EVN_RANK_REDUCES, k->block, all, k->added_ns);
		at = k->added_ns;
	}
	tell(l, EVN_RANK_COMPUTES, EVN_BLOCK_NONE, at, t->ended_ns);
}

void evn_comm_trace_take(evn_comm *c, evn_rank_span_fn each, void *user)
{
	if (!is_complete(c))
		return;
	fit_all(c);
	for (uint32_t i = c->begin; i < c->end; i++)
		if (evn_comm_takes_part(c, i))
			place(c->members[i].trace);
	for (uint32_t i = c->begin; i < c->end; i++) {
		evn_member *m = &c->members[i];
		if (!evn_comm_takes_part(c, i))
			continue;
		const listener l = {each, user, i, (uint64_t)m->trace->offset_ns};
		tell_rank(c, &l);
		evn_queue_take_launches(m->queue, tell_launch, (void *)&l);
		m->trace->ended = false;
	}
}
