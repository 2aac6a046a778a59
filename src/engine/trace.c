/* trace.c - tells the listener of a trace what happened, step by step. */
#include "evener/trace.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/request.h"
#include "engine/scheduler.h"

typedef struct evn_tracing {
	evn_trace_fn fn;
	void *user;
	bool kernels;
	double began_s;
} evn_tracing;

evn_status evn_engine_trace(evn_engine *e, evn_trace_fn fn, void *user, bool kernels, evn_error *err)
{
	evn_status status = EVN_OK;
	evn_tracing *t = fn ? malloc(sizeof *t) : NULL;
	if (fn && !t)
		return evn_fail_memory(err, "trace", sizeof *t);
	if (t)
		*t = (evn_tracing){fn, user, kernels, evn_now_s()};
	pthread_mutex_lock(&e->lock);
	if (e->comm && !evn_team_abandoned(e->team))
		status = evn_comm_trace(e->comm, false, false, err);
	free(e->tracing);
	e->tracing = t;
	pthread_mutex_unlock(&e->lock);
	return status;
}

/* The communicator may be a new one, of the ranks that are left. */
evn_status evn_trace_before_step(evn_engine *e, evn_error *err)
{
	return e->tracing ? evn_comm_trace(e->comm, true, e->tracing->kernels, err) : EVN_OK;
}

static evn_trace_kind kind_of(const evn_engine *e, const evn_rank_span *s)
{
	if (s->act == EVN_RANK_WAITS)
		return EVN_TRACE_WAIT;
	if (s->act == EVN_RANK_REDUCES)
		return EVN_TRACE_REDUCE;
	if (s->block == EVN_BLOCK_NONE)
		return EVN_TRACE_OUTPUT;
	const evn_block_kind kind = e->prepared.graph->blocks[s->block].kind;
	return kind == EVN_BLOCK_ATTENTION || kind == EVN_BLOCK_DELTA ? EVN_TRACE_ATTENTION : EVN_TRACE_FEED_FORWARD;
}

static void name_span(char *out, size_t size, const evn_engine *e, const evn_rank_span *s)
{
	static const char *const kinds[] = {[EVN_BLOCK_ATTENTION] = "attention",
										[EVN_BLOCK_FEED_FORWARD] = "feed-forward",
										[EVN_BLOCK_EXPERTS] = "experts",
										[EVN_BLOCK_DELTA] = "delta net"};
	static const char *const acts[] = {
		[EVN_RANK_COMPUTES] = "", [EVN_RANK_WAITS] = "waits after ", [EVN_RANK_REDUCES] = "all-reduce after "};
	if (s->block == EVN_BLOCK_NONE) {
		snprintf(out, size, "output");
		return;
	}
	const evn_block *b = &e->prepared.graph->blocks[s->block];
	snprintf(out, size, "%slayer %u %s", acts[s->act], b->layer, b->joins ? "as a whole" : kinds[b->kind]);
}

static void tell_span(void *user, const evn_rank_span *s)
{
	const evn_engine *e = user;
	const evn_tracing *t = e->tracing;
	char name[96];
	evn_trace_span span = {.kind = EVN_TRACE_KERNEL,
						   .name = s->kernel,
						   .track = s->rank,
						   .began_s = (double)s->began_ns * 1e-9 - t->began_s,
						   .ended_s = (double)s->ended_ns * 1e-9 - t->began_s};
	if (s->act != EVN_RANK_KERNEL) {
		span.kind = kind_of(e, s);
		name_span(name, sizeof name, e, s);
		span.name = name;
	}
	t->fn(t->user, &span);
}

void evn_trace_after_step(evn_engine *e, const evn_step_seen *seen)
{
	const evn_tracing *t = e->tracing;
	evn_trace_span step = {.kind = EVN_TRACE_STEP};
	if (!t)
		return;
	for (uint32_t i = 0; i < seen->batch->n_spans; i++) {
		const evn_span *s = &seen->batch->spans[i];
		*(s->phase == EVN_PROMPT ? &step.prompt_tokens : &step.tokens) += s->n_rows;
	}
	step.name = step.prompt_tokens && step.tokens ? "prompt and decode" : step.tokens ? "decode" : "prompt";
	step.began_s = seen->began_s - t->began_s;
	step.ended_s = step.began_s + seen->wall_s;
	t->fn(t->user, &step);
	evn_comm_trace_take(e->comm, tell_span, e);
}

void evn_trace_event(evn_engine *e, const char *text)
{
	const evn_tracing *t = e->tracing;
	const double now = t ? evn_now_s() - t->began_s : 0;
	if (t)
		t->fn(t->user, &(evn_trace_span){EVN_TRACE_EVENT, text, 0, now, now, 0, 0});
}

void evn_trace_request(evn_scheduler *s, const evn_request *r)
{
	const evn_tracing *t = s->e->tracing;
	const double now = evn_now_s(), began = r->began_s > 0 ? r->began_s : now,
				 first = r->first_s > 0 ? r->first_s : now;
	const double times[] = {r->arrived_s, began, first, now};
	static const char *const names[] = {"waits", "prompt", "answer"};
	for (size_t i = 0; i < 3 && t; i++) {
		const evn_trace_span span = {.kind = EVN_TRACE_REQUEST,
									 .name = names[i],
									 .track = r->number,
									 .began_s = times[i] - t->began_s,
									 .ended_s = times[i + 1] - t->began_s,
									 .prompt_tokens = i == 1 ? r->job.n_prompt : 0,
									 .tokens = i == 2 ? r->n_tokens : 0};
		if (span.ended_s > span.began_s && span.began_s >= 0)
			t->fn(t->user, &span);
	}
}
