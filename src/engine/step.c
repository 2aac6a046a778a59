/* step.c - one step on all ranks, with what follows if it is cancelled or fails. */
#include "engine/cluster.h"
#include "engine/follow.h"
#include "engine/pipeline.h"
#include "engine/rebalance.h"

#include <stdlib.h>
#include <string.h>

/* On the heap with what the batch refers to, as the thread of a device that hangs may come back to it. */
typedef struct {
	evn_engine *e;
	evn_batch batch;
	evn_span *spans; /* copies */
	uint32_t *out_rows;
	const evn_step_watch *watch;
	bool stopped;
	evn_step_check check;
} stepping;

static void free_stepping(stepping *s)
{
	evn_verify_end(&s->check);
	free(s->spans);
	free(s->out_rows);
	free(s);
}

static evn_status make_stepping(stepping **out, evn_engine *e, const evn_batch *batch, const evn_step_watch *watch,
								evn_error *err)
{
	stepping *s = *out = calloc(1, sizeof *s);
	if (!s)
		return evn_fail_memory(err, "step", sizeof *s);
	*s = (stepping){.e = e, .batch = *batch, .watch = watch};
	s->spans = calloc(batch->n_spans + 1u, sizeof *s->spans);
	s->out_rows = calloc(batch->n_out + 1u, sizeof *s->out_rows);
	if (!s->spans || !s->out_rows) {
		free_stepping(s);
		return evn_fail_memory(err, "step", batch->n_spans * sizeof *s->spans);
	}
	memcpy(s->spans, batch->spans, batch->n_spans * sizeof *s->spans);
	for (uint32_t i = 0; i < batch->n_out; i++)
		s->out_rows[i] = batch->out_rows[i];
	s->batch.spans = s->spans;
	s->batch.out_rows = s->out_rows;
	return EVN_OK;
}

static evn_status run_rank(void *arg, uint32_t rank, evn_error *err)
{
	stepping *s = arg;
	const evn_rank *r = &s->e->ranks[rank];
	const evn_walker w = {.view = r->view,
						  .workspace = r->workspace,
						  .cache = r->cache,
						  .comm = s->e->comm,
						  .tap = evn_verify_tap(&s->check, rank)};
	EVN_TRY(evn_walk(&w, &s->batch, err));
	return evn_verify_rank(s->e, &s->check, rank, err);
}

static void ask(void *arg)
{
	stepping *s = arg;
	if (!s->watch || s->stopped || s->watch->go_on(s->watch->user))
		return;
	s->stopped = true;
	evn_comm_cancel(s->e->comm);
}

/* A step can be repeated: the repetition overwrites everything that it left. So a step is computed again if a result
 * was wrong, or, with another method, if the flags failed. */
static bool is_repeated(stepping *s, const evn_error *why)
{
	evn_engine *e = s->e;
	if (s->stopped || evn_team_abandoned(e->team))
		return false;
	if (atomic_exchange(&s->check.wrong, false)) {
		evn_engine_note(e, EVN_LOG_WARN, "%s; the step is computed again", why->text);
		return true;
	}
	if (!evn_comm_fall_back(e->comm))
		return false;
	evn_log(EVN_LOG_WARN, "%s; the step is computed again", why->text);
	return true;
}

/* The batch, or a piece of it, on the ranks of this process. */
static evn_status run_ranks(void *arg, const evn_batch *batch, evn_error *err)
{
	stepping *s = arg;
	evn_error why = {0};
	const evn_batch whole = s->batch;
	s->batch = *batch;
	evn_status status = evn_engine_run_part(s->e, run_rank, s, ask, s, &why);
	if (status != EVN_OK && is_repeated(s, &why))
		status = evn_engine_run_part(s->e, run_rank, s, ask, s, &why);
	if (!evn_team_abandoned(s->e->team))
		s->batch = whole;
	if (status != EVN_OK && err)
		*err = why;
	return status;
}

static evn_status run_step(stepping *s, evn_error *err)
{
	evn_engine *e = s->e;
	evn_error why = {0};
	evn_comm_times before[EVN_MAX_RANKS];
	for (uint32_t i = 0; i < e->n_ranks; i++)
		before[i] = evn_comm_rank_times(e->comm, i);
	const double began_s = evn_now_s();
	evn_status status = evn_trace_before_step(e, &why);
	if (status == EVN_OK && evn_engine_leads(e))
		s->batch.n_pieces = evn_pipeline_pieces(e, &s->batch);
	if (status == EVN_OK)
		status = evn_lead_step(e, &s->batch, &why);
	const evn_batch whole = s->batch;
	if (status == EVN_OK)
		status = e->pipeline ? evn_pipeline_step(e, &whole, run_ranks, s, &why) : run_ranks(s, &whole, &why);
	if (s->stopped) {
		if (!evn_team_abandoned(e->team))
			evn_comm_reset(e->comm, NULL);
		return evn_fail(err, EVN_ERR_CANCELLED, "the step was stopped");
	}
	if (status == EVN_OK)
		status = evn_follow_outputs(e, &s->batch, &why);
	if (status == EVN_OK) {
		const evn_step_seen seen = {&s->batch, before, began_s, evn_now_s() - began_s};
		evn_trace_after_step(e, &seen);
		evn_rebalance_after_step(e->rebalance, e, &seen);
		if (!e->following) /* what nodes predict depends on their link, too */
			evn_doubt_after_step(e, &seen);
	} else if (err) {
		*err = why;
	}
	return status;
}

/* Other nodes wait, in the middle of the step. */
static void end_everywhere(evn_engine *e, evn_status status, const char *why)
{
	evn_fail(&e->dead, status, "%s", why);
	atomic_store(&e->is_dead, true);
	evn_cluster_fail(e->prepared.cluster, &e->dead);
}

evn_status evn_engine_step(evn_engine *e, const evn_batch *batch, const evn_step_watch *watch, evn_error *err)
{
	stepping *s;
	if (e->dead.code != EVN_OK)
		return evn_fail(err, e->dead.code, "%s", e->dead.text);
	if (watch && !watch->go_on(watch->user))
		return evn_fail(err, EVN_ERR_CANCELLED, "the step was stopped");
	EVN_TRY(evn_rebalance_before_step(e->rebalance, e, err));
	EVN_TRY(make_stepping(&s, e, batch, e->following ? NULL : watch, err)); /* other nodes cannot break off a step */
	evn_verify_begin(e, &s->check);
	const evn_status status = run_step(s, err);
	if (status == EVN_OK)
		evn_spans_done(batch->spans, batch->n_spans);
	if (status != EVN_OK && e->following)
		end_everywhere(e, status, err ? err->text : "a step failed");
	if (!evn_team_abandoned(e->team))
		free_stepping(s);
	return status;
}
