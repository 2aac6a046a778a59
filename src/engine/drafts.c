/* drafts.c - guesses of the next ids: from the text so far (lookup.h), which cost nothing, and where these promise
 * nothing from the draft model. Both become further rows of the step in the same way. */
#include "engine/scheduler.h"

#define LOOKUP_DRAFT 7u /* drafts of a request, if costs do not count */
#define MODEL_DRAFT 4u
#define MODEL_WINDOW 256u

typedef struct {
	evn_job *jobs[EVN_SPECULATE_ROWS];
	evn_draft drafts[EVN_SPECULATE_ROWS];
	uint32_t n, n_rows, n_free; /* jobs that could have drafts; rows of all jobs without them, and room for more */
	bool has_prompts;
} proposals;

/* A job that was put off first computes again what it had. */
static void list_jobs(evn_scheduler *s, proposals *p)
{
	for (evn_job *j = s->schedule.jobs; j; j = j->next) {
		j->n_draft = 0;
		evn_request_of(j)->guessed_by_model = false;
		p->has_prompts |= j->running && evn_job_in_prompt(j);
		if (!j->running || evn_job_in_prompt(j))
			continue;
		p->n_rows += j->n_ids - j->n_done;
		if (p->n < EVN_SPECULATE_ROWS && j->n_done + 1 == j->n_ids)
			p->jobs[p->n++] = j;
	}
	p->n_free = p->n_rows < s->schedule.max_rows ? s->schedule.max_rows - p->n_rows : 0;
}

static uint32_t count_chosen(const proposals *p)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < p->n; i++)
		n += p->drafts[i].chosen;
	return n;
}

static void look_up(evn_scheduler *s, proposals *p)
{
	for (uint32_t i = 0; i < p->n; i++) {
		evn_draft *d = &p->drafts[i];
		evn_request_guess(evn_request_of(p->jobs[i]), s->e->prepared.limits.n_ctx, d);
		if (s->speculate == EVN_SPECULATE_LOOKUP)
			d->chosen = d->n < LOOKUP_DRAFT ? d->n : LOOKUP_DRAFT;
	}
	if (s->speculate == EVN_SPECULATE_AUTO)
		evn_speculator_choose(&s->speculator, p->n_rows, p->n_free, p->drafts, p->n, false);
}

/* ---- the draft model ------------------------------------------------------------------------------------------- */

static uint32_t make_asks(evn_scheduler *s, proposals *p, evn_draft_ask *asks)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < p->n; i++) {
		evn_request *r = evn_request_of(p->jobs[i]);
		const uint32_t most = evn_request_most_drafts(r, s->e->prepared.limits.n_ctx);
		p->drafts[i] = (evn_draft){.n = 0};
		if (most)
			asks[n++] = (evn_draft_ask){&r->draft_text, r->job.ids, r->job.n_ids, most, &p->drafts[i], r->classes};
	}
	return n;
}

/* How many guesses of each text are worth their time; 0: none are. */
static uint32_t ask_speculator(evn_scheduler *s, const proposals *p, evn_draft_ask *asks, uint32_t n,
							   uint32_t *window, float *at_least)
{
	evn_draft_cost *cost = evn_draft_model_cost(s->draft);
	evn_draft_chance c = {
		.n_rows = p->n_rows, .n_free = p->n_free, .n_texts = n, .chance = evn_draft_model_chance(s->draft)};
	*window = evn_speculator_window(&s->speculator, cost, p->n_rows);
	for (uint32_t i = 0; i < n && *window; i++)
		c.n_unread += evn_draft_model_unread(s->draft, &asks[i], *window);
	return *window ? evn_speculator_ask(&s->speculator, cost, &c, at_least) : 0;
}

static void ask_model(evn_scheduler *s, proposals *p)
{
	evn_draft_ask asks[EVN_SPECULATE_ROWS];
	evn_error err = {0};
	float at_least = 0;
	uint32_t window = MODEL_WINDOW, most = MODEL_DRAFT;
	const uint32_t n = make_asks(s, p, asks);
	if (s->speculate == EVN_SPECULATE_AUTO)
		most = ask_speculator(s, p, asks, n, &window, &at_least);
	if (!most || !n)
		return;
	for (uint32_t i = 0; i < n; i++)
		asks[i].most = asks[i].most < most ? asks[i].most : most;
	const double began = evn_now_s();
	if (!evn_draft_model_guess(s->draft, asks, n, window, at_least, &err))
		evn_engine_note(s->e, EVN_LOG_WARN, "the draft model has no device any more: %s", err.text);
	s->draft_s = evn_now_s() - began;
	if (s->speculate == EVN_SPECULATE_AUTO)
		evn_speculator_choose(&s->speculator, p->n_rows, p->n_free, p->drafts, p->n, true);
	for (uint32_t i = 0; i < p->n; i++) {
		evn_request *r = evn_request_of(p->jobs[i]);
		if (s->speculate == EVN_SPECULATE_DRAFT)
			p->drafts[i].chosen = p->drafts[i].n;
		r->guessed_by_model = true;
		r->n_verified = 0;
	}
}

/* ---- a step ---------------------------------------------------------------------------------------------------- */

void evn_drafts_propose(evn_scheduler *s)
{
	proposals p = {.n = 0};
	s->draft_s = 0;
	list_jobs(s, &p);
	if (s->speculate == EVN_SPECULATE_OFF || !p.n || !p.n_free)
		return;
	if (s->speculate != EVN_SPECULATE_DRAFT)
		look_up(s, &p);
	if (s->draft && s->speculate != EVN_SPECULATE_LOOKUP && !p.has_prompts && !count_chosen(&p))
		ask_model(s, &p);
	for (uint32_t i = 0; i < p.n; i++)
		p.jobs[i]->n_draft = p.drafts[i].chosen;
}

uint32_t evn_drafts_count(evn_scheduler *s)
{
	uint32_t n = 0;
	for (evn_job *j = s->schedule.jobs; j; j = j->next) {
		n += j->n_draft;
		evn_request_of(j)->result.n_drafted += j->n_draft;
	}
	return n;
}

void evn_drafts_note(evn_scheduler *s, const evn_batch *b, uint32_t n_drafts, double seconds)
{
	pthread_mutex_lock(&s->lock);
	s->stats.drafted += n_drafts;
	s->stats.accepted += s->n_right;
	pthread_mutex_unlock(&s->lock);
	const evn_step_outcome o = {.n_rows = b->n_rows,
								.n_drafts = n_drafts,
								.n_right = s->n_right,
								.seconds = seconds - s->draft_s,
								.draft_s = s->draft_s};
	if (b->spans[0].phase == EVN_DECODE)
		evn_speculator_observe(&s->speculator, &o);
}
