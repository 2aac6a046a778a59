/* score.c - the probabilities of a text's tokens: workers take windows of it (workers.h). */
#include <math.h>
#include <stdlib.h>

#include "engine/workers.h"
#include "evener/inspect.h"

/* For each worker, which has one row of logits for each token that is computed at once. */
#define LOGITS_BYTES (64u << 20)

typedef struct {
	evn_session *session;
	float *logits; /* (scorer->n_rows, vocab) */
} scratch;

struct evn_scorer {
	evn_workers workers;
	scratch of[EVN_MAX_RANKS];
	uint32_t n_rows;
	uint64_t fingerprint;
};

static evn_status make_fingerprint(evn_scorer *s, evn_error *err)
{
	const evn_workers *w = &s->workers;
	const evn_prepared *p = &w->prepared;
	uint64_t h = evn_hash_str(EVN_HASH_START, evn_version()), model;
	EVN_TRY(evn_model_identity(w->model, &model, err));
	h = evn_hash(h, &model, sizeof model);
	for (uint32_t i = 0; i < p->n; i++)
		h = evn_hash_str(h, p->devices[i].node);
	for (uint32_t i = p->begin; i < p->end; i++) {
		uint64_t pick = evn_pick_fingerprint(p->system, &p->picks[i], evn_kernels_hash());
		h = evn_hash(h, &pick, sizeof pick);
	}
	const uint32_t how[] = {w->info.split, w->options.activations, w->options.kv_cache, w->options.messages,
							p->limits.n_batch};
	s->fingerprint = evn_hash(h, how, sizeof how);
	return EVN_OK;
}

uint64_t evn_scorer_fingerprint(const evn_scorer *s) { return s->fingerprint; }

static evn_status open_scorer(evn_scorer *s, const evn_model *m, const evn_options *o, evn_split_mode split,
							  uint64_t n_windows, evn_error *err)
{
	const uint64_t row = evn_model_hparams(m) ? evn_model_hparams(m)->vocab * sizeof(float) : 1;
	EVN_TRY(evn_workers_prepare(&s->workers, m, o, split, n_windows, err));
	EVN_TRY(make_fingerprint(s, err));
	uint64_t rows = LOGITS_BYTES / row + 1;
	s->n_rows = rows < s->workers.prepared.limits.n_ctx ? (uint32_t)rows : s->workers.prepared.limits.n_ctx;
	EVN_TRY(evn_workers_load(&s->workers, err));
	for (uint32_t i = 0; i < s->workers.n; i++) {
		EVN_TRY(evn_session_create(&s->of[i].session, s->workers.at[i].engine, err));
		s->of[i].logits = malloc(s->n_rows * row);
		if (!s->of[i].logits)
			return evn_fail_memory(err, "logits", s->n_rows * row);
	}
	return EVN_OK;
}

evn_status evn_scorer_open(evn_scorer **out, const evn_model *m, const evn_options *o, evn_split_mode split,
						   uint64_t n_windows, evn_error *err)
{
	*out = NULL;
	evn_scorer *s = calloc(1, sizeof *s);
	if (!s)
		return evn_fail_memory(err, "scorer", sizeof *s);
	evn_status status = open_scorer(s, m, o, split, n_windows, err);
	if (status != EVN_OK) {
		evn_scorer_close(s);
		return status;
	}
	*out = s;
	return EVN_OK;
}

void evn_scorer_close(evn_scorer *s)
{
	if (!s)
		return;
	evn_team_free(s->workers.team);
	for (uint32_t i = 0; i < EVN_MAX_RANKS; i++) {
		evn_session_free(s->of[i].session);
		free(s->of[i].logits);
	}
	evn_workers_close(&s->workers);
	free(s);
}

/* ---- windows --------------------------------------------------------------------------------------------------- */

typedef struct {
	evn_scorer *s;
	evn_window *windows;
	size_t n, next;
	bool *computed; /* (n) computed in this run; guarded by the workers' lock, as `next` is */
} run;

/* Takes the next window. False if there is none for this worker. */
static bool next_window(run *r, evn_worker *w, size_t *index)
{
	pthread_mutex_lock(&w->of->lock);
	const bool found = evn_worker_takes(w);
	if (found) {
		while (r->windows[r->next].done)
			r->next++;
		*index = r->next++;
	}
	pthread_mutex_unlock(&w->of->lock);
	return found;
}

static evn_status compute(const evn_scorer *s, uint32_t index, evn_worker *w, evn_window *win, evn_error *err)
{
	const scratch *of = &s->of[index];
	uint32_t vocab = evn_model_hparams(s->workers.model)->vocab, end = win->n_ids - 1;
	EVN_TRY(evn_session_rewind(of->session, 0, err));
	w->before = 0;
	if (win->first > 1)
		EVN_TRY(evn_session_eval(of->session, win->ids, win->first - 1, NULL, err));
	for (uint32_t at = win->first - 1, n; at < end; at += n) {
		n = end - at < s->n_rows ? end - at : s->n_rows;
		w->before = at;
		EVN_TRY(evn_session_eval(of->session, win->ids + at, n, of->logits, err));
		for (uint32_t i = 0; i < n; i++) {
			const float *logits = of->logits + (uint64_t)i * vocab;
			double p = (double)logits[win->ids[at + i + 1]] - evn_log_sum_exp(logits, vocab);
			if (isnan(p))
				return evn_fail(err, EVN_ERR_DEVICE,
								"token %u of a window has no probability: logits are not numbers", at + i + 1);
			win->log_p[at + i + 1 - win->first] = p;
		}
	}
	return EVN_OK;
}

static evn_status work(void *arg, uint32_t index, evn_error *err)
{
	run *r = arg;
	evn_workers *all = &r->s->workers;
	evn_worker *w = &all->at[index];
	size_t i;
	while (!atomic_load(&all->stop) && next_window(r, w, &i)) {
		uint64_t began = evn_now_ns();
		EVN_TRY(compute(r->s, index, w, &r->windows[i], err));
		pthread_mutex_lock(&all->lock);
		evn_worker_finished(w, 1, r->windows[i].n_ids - 1, evn_now_ns() - began);
		r->computed[i] = true;
		pthread_mutex_unlock(&all->lock);
	}
	return EVN_OK;
}

/* Windows become done in the caller's own thread. */
static void mark_done(void *arg)
{
	run *r = arg;
	for (size_t i = 0; i < r->n; i++)
		r->windows[i].done |= r->computed[i];
}

static evn_status check_windows(run *r, evn_error *err)
{
	evn_workers *all = &r->s->workers;
	all->n_left = all->total = 0;
	for (size_t i = 0; i < r->n; i++) {
		const evn_window *w = &r->windows[i];
		if (w->first < 1 || w->first >= w->n_ids)
			return evn_fail(err, EVN_ERR_USAGE, "window %zu: token %u of %u is not one that can be scored", i,
							w->first, w->n_ids);
		all->n_left += !w->done;
		all->total += w->done ? 0 : w->n_ids - 1;
	}
	return EVN_OK;
}

evn_status evn_scorer_run(evn_scorer *s, evn_window *windows, size_t n, evn_progress_fn progress, void *user,
						  evn_error *err)
{
	run r = {.s = s, .windows = windows, .n = n};
	EVN_TRY(check_windows(&r, err));
	r.computed = calloc(n + 1, sizeof *r.computed);
	if (!r.computed)
		return evn_fail_memory(err, "windows", n + 1);
	s->workers.doing = "scoring";
	s->workers.progress = progress;
	s->workers.user = user;
	const evn_status status = evn_workers_run(&s->workers, work, mark_done, &r, err);
	free(r.computed);
	return status;
}

const evn_score_info *evn_scorer_info(evn_scorer *s) { return evn_workers_info(&s->workers); }
