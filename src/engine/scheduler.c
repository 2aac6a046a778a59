/* scheduler.c - the thread that computes steps for all requests. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/scheduler.h"

static uint32_t vocab_of(const evn_scheduler *s) { return evn_model_hparams(s->e->model)->vocab; }

/* ---- requests come and go -------------------------------------------------------------------------------------- */

static void take_arrivals(evn_scheduler *s)
{
	pthread_mutex_lock(&s->lock);
	evn_request *r = s->arrivals;
	s->arrivals = NULL;
	s->last_arrival = &s->arrivals;
	pthread_mutex_unlock(&s->lock);
	for (evn_request *next; r; r = next) {
		next = r->next;
		r->number = ++s->n_arrived;
		evn_schedule_add(&s->schedule, &r->job);
	}
}

static void finish(evn_scheduler *s, evn_request *r, evn_request_end end)
{
	const double now = evn_now_s();
	const double began = r->began_s > 0 ? r->began_s : now, first = r->first_s > 0 ? r->first_s : now;
	pthread_mutex_lock(&s->e->lock);
	evn_trace_request(s, r);
	evn_schedule_remove(&s->schedule, &r->job);
	pthread_mutex_unlock(&s->e->lock);
	if (s->draft)
		evn_draft_text_free(s->draft, &r->draft_text);
	r->result.end = end;
	r->result.n_prompt = r->job.n_prompt;
	r->result.n_cached = r->job.n_cached;
	r->result.n_tokens = r->n_tokens;
	r->result.n_put_off = r->job.n_put_off;
	r->result.queue_s = began - r->arrived_s;
	r->result.prompt_s = first - began;
	r->result.decode_s = now - first;
	if (r->o.events.on_end)
		r->o.events.on_end(r->o.events.user, &r->result);
	pthread_mutex_lock(&s->lock);
	r->ended = true;
	s->n_alive--;
	s->stats.ended[end]++;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

static void drop_cancelled(evn_scheduler *s)
{
	for (evn_job *j = s->schedule.jobs, *next; j; j = next) {
		next = j->next;
		if (atomic_load(&s->stop) || atomic_load(&evn_request_of(j)->cancelled))
			finish(s, evn_request_of(j), EVN_END_CANCELLED);
	}
}

/* A step of a long prompt takes a while. It is broken off if nobody wants its rows any more. */
static bool go_on(void *arg)
{
	const evn_scheduler *s = arg;
	if (atomic_load(&s->stop))
		return false;
	for (evn_job *j = s->schedule.jobs; j; j = j->next)
		if (j->n_next && !atomic_load(&evn_request_of(j)->cancelled))
			return true;
	return false;
}

static void note_begun(evn_scheduler *s)
{
	const double now = evn_now_s();
	for (evn_job *j = s->schedule.jobs; j; j = j->next) {
		evn_request *r = evn_request_of(j);
		if (!j->n_next || r->began_s > 0)
			continue;
		r->began_s = now;
		pthread_mutex_lock(&s->lock);
		s->stats.cached_tokens += j->n_cached;
		pthread_mutex_unlock(&s->lock);
	}
}

/* ---- one step -------------------------------------------------------------------------------------------------- */

/* Schedules and computes a step. b->n_rows is 0 if there was nothing to compute. */
static evn_status compute(evn_scheduler *s, evn_batch *b, evn_error *err)
{
	uint32_t n_rows;
	*b = (evn_batch){0};
	evn_drafts_propose(s);
	EVN_TRY(evn_schedule_next(&s->schedule, &n_rows, err));
	if (!n_rows)
		return EVN_OK;
	note_begun(s);
	EVN_TRY(evn_step_rows_fill(&s->rows, s->e, &s->schedule, b, err));
	return evn_engine_step(s->e, b, &(evn_step_watch){go_on, s}, err);
}

static void count_rank(evn_scheduler *s, uint32_t i, const bool *has)
{
	for (evn_phase p = 0; p < EVN_PHASES; p++)
		s->bytes_read[i] += has[p] ? evn_engine_read_bytes(s->e, i, p) : 0;
	s->stats.ranks[i] = evn_engine_rank_stats(s->e, i, s->before[i], s->bytes_read[i]);
}

/* What there is now. Both locks are held. */
static void count_jobs(evn_scheduler *s)
{
	evn_scheduler_stats *t = &s->stats;
	t->n_running = s->schedule.n_running;
	t->n_waiting = s->schedule.n_jobs - s->schedule.n_running;
	t->n_blocks = s->e->pool.n_blocks;
	t->n_cached = evn_prefixes_unused(s->schedule.prefixes);
	t->n_used = s->e->pool.n_blocks - s->e->pool.n_free - t->n_cached;
}

/* Brings the statistics up to date after a step. The engine's lock is held. */
static void count(evn_scheduler *s, const evn_batch *b, double began)
{
	const evn_span *last = &b->spans[b->n_spans - 1];
	const bool has[] = {[EVN_PROMPT] = b->spans[0].phase == EVN_PROMPT, [EVN_DECODE] = last->phase == EVN_DECODE};
	pthread_mutex_lock(&s->lock);
	evn_scheduler_stats *t = &s->stats;
	count_jobs(s);
	t->put_off = s->schedule.n_put_off;
	t->steps++;
	t->rows += b->n_rows;
	for (uint32_t i = 0; i < b->n_spans; i++)
		t->prompt_tokens += b->spans[i].phase == EVN_PROMPT ? b->spans[i].n_rows : 0;
	*(has[EVN_PROMPT] ? &t->prompt_s : &t->decode_s) += evn_now_s() - began;
	for (uint32_t i = 0; i < s->e->n_ranks; i++)
		count_rank(s, i, has);
	pthread_mutex_unlock(&s->lock);
}

/* The next id is drawn. True if it is the draft whose row the step has: that row counts, too. A request that has
 * ended may be freed already. */
static bool draw(evn_scheduler *s, evn_request *r, const evn_row_logits *logits)
{
	bool ended;
	evn_job *j = &r->job;
	const int32_t guess = j->n_draft ? j->ids[j->n_ids] : -1;
	const uint8_t class = r->guessed_by_model && guess >= 0 ? r->classes[r->n_verified++] : 0;
	pthread_mutex_lock(&s->lock);
	s->stats.tokens += !r->o.only_score; /* before the event: who hears of it may ask */
	pthread_mutex_unlock(&s->lock);
	if (evn_request_draw(r, s->e->model, logits, s->e->prepared.limits.n_ctx, &ended, &r->result.error) != EVN_OK) {
		finish(s, r, EVN_END_FAILED); /* with the error that the draw has left */
		return false;
	}
	const bool right = guess >= 0 && j->ids[j->n_ids - 1] == guess;
	s->n_right += right;
	r->result.n_accepted += right;
	if (r->guessed_by_model && guess >= 0)
		evn_draft_model_learn(s->draft, class, right);
	if (ended) {
		finish(s, r, r->result.end);
		return false;
	}
	if (!right)
		return false;
	pthread_mutex_lock(&s->e->lock);
	evn_schedule_accept(&s->schedule, j);
	pthread_mutex_unlock(&s->e->lock);
	return true;
}

/* The logits of a request lie one behind the other. Those behind a wrong draft are left out. */
static void use_logits(evn_scheduler *s, const evn_batch *b)
{
	const evn_request *over = NULL;
	s->n_right = 0;
	for (uint32_t i = 0; i < b->n_out; i++) {
		const evn_output_row *o = &s->rows.outputs[i];
		const evn_row_logits row = {.all = b->out ? b->out + (uint64_t)i * vocab_of(s) : NULL,
									.top = b->top ? b->top + (uint64_t)i * b->n_lists * b->n_top : NULL,
									.n_lists = b->n_lists,
									.n_top = b->n_top};
		if (o->request == over)
			continue;
		if (o->position + 1 < o->request->job.n_ids)
			evn_request_score(o->request, o->position + 1, row.all, vocab_of(s));
		else if (!draw(s, o->request, &row))
			over = o->request;
	}
}

static void fail(evn_scheduler *s, evn_request *r, const evn_error *why)
{
	r->result.error = *why;
	finish(s, r, EVN_END_FAILED);
}

/* Ends the requests of a step that failed; if there was not even a step, the one whose turn it is. */
static void fail_jobs(evn_scheduler *s, const evn_error *why)
{
	bool any = false;
	for (evn_job *j = s->schedule.jobs, *next; j; j = next) {
		next = j->next;
		any |= j->n_next > 0;
		if (j->n_next)
			fail(s, evn_request_of(j), why);
	}
	if (!any && s->schedule.jobs)
		fail(s, evn_request_of(s->schedule.jobs), why);
}

/* The requests of a step that failed go on with the devices that are left. The engine's lock is held. */
static bool recover(evn_scheduler *s, evn_error *why)
{
	const uint32_t n_abandoned = s->e->n_abandoned;
	if (!evn_engine_recover(s->e, why))
		return false;
	evn_schedule_restart(&s->schedule);
	for (uint32_t i = 0; i < s->e->n_ranks; i++)
		s->before[i] = evn_comm_rank_times(s->e->comm, i);
	memset(s->bytes_read, 0, sizeof s->bytes_read);
	if (s->e->n_abandoned == n_abandoned)
		return true;
	s->rows = (evn_step_rows){0}; /* a device that hangs may come back to them */
	return evn_step_rows_make(&s->rows, s->e, why) == EVN_OK;
}

/* False if there was nothing to do. */
static bool step(evn_scheduler *s)
{
	evn_error err = {0};
	evn_batch b;
	uint32_t n_drafts = 0;
	const double began = evn_now_s();
	pthread_mutex_lock(&s->e->lock);
	const evn_status status = compute(s, &b, &err);
	if (status == EVN_OK)
		evn_schedule_done(&s->schedule);
	if (status == EVN_OK && b.n_rows) {
		count(s, &b, began);
		n_drafts = evn_drafts_count(s);
	}
	const bool recovered = status != EVN_OK && status != EVN_ERR_CANCELLED && recover(s, &err);
	pthread_mutex_unlock(&s->e->lock);
	if (recovered)
		return true;
	if (status == EVN_ERR_CANCELLED)
		return true; /* the scheduler ends, or all requests of the step do */
	if (status != EVN_OK) {
		fail_jobs(s, &err);
		return true;
	}
	if (!b.n_rows)
		return false;
	use_logits(s, &b);
	evn_drafts_note(s, &b, n_drafts, evn_now_s() - began);
	return true;
}

/* If there are jobs that do not get cache blocks, sessions of the engine have them. */
static void wait_for_blocks(void) { nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL); }

static void wait_for_arrivals(evn_scheduler *s)
{
	pthread_mutex_lock(&s->e->lock);
	pthread_mutex_lock(&s->lock);
	count_jobs(s);
	pthread_mutex_unlock(&s->e->lock);
	while (!s->arrivals && !atomic_load(&s->stop))
		pthread_cond_wait(&s->changed, &s->lock);
	pthread_mutex_unlock(&s->lock);
}

void *evn_scheduler_run(void *arg)
{
	evn_scheduler *s = arg;
	while (!atomic_load(&s->stop)) {
		take_arrivals(s);
		drop_cancelled(s);
		if (step(s))
			continue;
		if (s->schedule.jobs)
			wait_for_blocks();
		else
			wait_for_arrivals(s);
	}
	take_arrivals(s);
	drop_cancelled(s);
	return NULL;
}
