/* score.c - the probabilities of a text's tokens. One engine over all ranks computes window after window, or each
 * rank has an engine of its own with the whole model. In both cases workers take windows from one queue. */
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/engine.h"
#include "evener/inspect.h"
#include "evener/score.h"

/* For each worker, which has one row of logits for each token that is computed at once. */
#define LOGITS_BYTES (64u << 20)

typedef struct {
	evn_scorer *scorer;
	evn_engine *engine;
	evn_session *session;
	float *logits;            /* (scorer->n_rows, vocab) */
	double tok_s;             /* the predicted speed, then the last measured one */
	uint64_t quota;           /* the windows that it may still take in this run; 0 after it has declined one */
	uint64_t before;          /* tokens of its window that were computed in earlier steps */
	atomic_ullong at;         /* tokens of its window that are computed; while loading, bytes */
	uint64_t windows, tokens; /* the windows and tokens that it has finished */
} worker;

struct evn_scorer {
	const evn_model *model;
	evn_options options;   /* of the caller; pointers in it are not kept */
	evn_prepared prepared; /* sequence split: the plan from which the workers' plans are made */
	evn_prepared alone[EVN_MAX_RANKS];
	evn_score_info info;
	evn_score_rank ranks[EVN_MAX_RANKS];
	char reason[256];
	uint32_t n_workers, n_rows;
	worker workers[EVN_MAX_RANKS];
	evn_team *team;
	atomic_bool stop;
	uint64_t load_bytes, fingerprint;
};

/* ---- choosing the split ---------------------------------------------------------------------------------------- */

/* Checks that every rank has room for the whole model. */
static evn_status try_sequence(evn_scorer *s, double *tok_s, uint64_t n_windows, evn_error *err)
{
	evn_prepared *p = &s->prepared;
	evn_error why = {0};
	if (p->cluster) {
		s->info.reason = "there are several nodes, and each has its devices only";
		return EVN_OK;
	}
	for (uint32_t i = 0; i < p->n; i++) {
		evn_status status = evn_prepare_alone(&s->alone[i], p, i, &why);
		if (status == EVN_ERR_LIMIT) {
			snprintf(s->reason, sizeof s->reason, "%s: %.200s", s->info.plan->ranks[i].device, why.text);
			s->info.reason = s->reason;
			return EVN_OK;
		}
		if (status != EVN_OK)
			return evn_fail(err, status, "%s", why.text);
	}
	return evn_predict_sequences(tok_s, &s->info.sequence_tok_s, &p->shape, p->ranks, p->n, n_windows, err);
}

static evn_status choose(evn_scorer *s, evn_split_mode asked, uint64_t n_windows, evn_error *err)
{
	double tok_s[EVN_MAX_RANKS] = {0};
	evn_score_info *info = &s->info;
	info->plan = evn_plan_get(s->prepared.plan);
	info->tensor_tok_s = info->plan->prefill_tok_s;
	EVN_TRY(try_sequence(s, tok_s, n_windows, err));
	if (asked == EVN_SPLIT_SEQUENCE && info->reason)
		return evn_fail(err, EVN_ERR_LIMIT, "split: sequence needs the whole model on every device; %s",
						info->reason);
	bool faster = s->prepared.n > 1 && info->sequence_tok_s > info->tensor_tok_s;
	info->split = asked != EVN_SPLIT_AUTO ? asked : faster ? EVN_SPLIT_SEQUENCE : EVN_SPLIT_TENSOR;
	info->n_ranks = s->prepared.n;
	info->ranks = s->ranks;
	s->n_workers = info->split == EVN_SPLIT_SEQUENCE ? s->prepared.n : 1;
	for (uint32_t i = 0; i < info->n_ranks; i++) {
		const evn_plan_rank *r = &info->plan->ranks[i];
		s->ranks[i] = (evn_score_rank){.device = r->device, .name = r->name, .share = r->share_prefill};
		s->workers[i].tok_s = tok_s[i];
	}
	return EVN_OK;
}

static evn_status make_fingerprint(evn_scorer *s, evn_error *err)
{
	uint64_t h = evn_hash_str(EVN_HASH_START, evn_version()), model;
	EVN_TRY(evn_model_identity(s->model, &model, err));
	h = evn_hash(h, &model, sizeof model);
	for (uint32_t i = 0; i < s->prepared.n; i++)
		h = evn_hash_str(h, s->prepared.devices[i].node);
	for (uint32_t i = s->prepared.begin; i < s->prepared.end; i++) {
		uint64_t pick = evn_pick_fingerprint(s->prepared.system, &s->prepared.picks[i], evn_kernels_hash());
		h = evn_hash(h, &pick, sizeof pick);
	}
	const uint32_t how[] = {s->info.split, s->options.activations, s->options.kv_cache, s->options.messages,
							s->prepared.limits.n_batch};
	s->fingerprint = evn_hash(h, how, sizeof how);
	return EVN_OK;
}

uint64_t evn_scorer_fingerprint(const evn_scorer *s) { return s->fingerprint; }

/* ---- loading --------------------------------------------------------------------------------------------------- */

/* Stores the progress of a worker's engine. The ticks of the team pass it to the caller, in the caller's own
 * thread. */
static bool note_progress(void *user, const char *what, uint64_t done, uint64_t total)
{
	worker *w = user;
	(void)what, (void)total;
	atomic_store(&w->at, w->before + done);
	return !atomic_load(&w->scorer->stop);
}

static uint64_t sum_progress(const evn_scorer *s)
{
	uint64_t sum = 0;
	for (uint32_t i = 0; i < s->n_workers; i++)
		sum += atomic_load(&s->workers[i].at);
	return sum;
}

static void show_loading(void *arg)
{
	evn_scorer *s = arg;
	const evn_options *o = &s->options;
	if (o->progress && !o->progress(o->progress_user, "loading", sum_progress(s), s->load_bytes))
		atomic_store(&s->stop, true);
}

static evn_status load_worker(void *arg, uint32_t i, evn_error *err)
{
	evn_scorer *s = arg;
	worker *w = &s->workers[i];
	evn_options o = s->options;
	o.progress = note_progress;
	o.progress_user = w;
	evn_prepared *p = s->info.split == EVN_SPLIT_SEQUENCE ? &s->alone[i] : &s->prepared;
	EVN_TRY(evn_engine_open_prepared(&w->engine, s->model, &o, p, err));
	EVN_TRY(evn_session_create(&w->session, w->engine, err));
	uint64_t row = evn_model_hparams(s->model)->vocab * sizeof *w->logits;
	w->logits = malloc(s->n_rows * row);
	return w->logits ? EVN_OK : evn_fail_memory(err, "logits", s->n_rows * row);
}

static void stop_others(void *arg)
{
	evn_scorer *s = arg;
	atomic_store(&s->stop, true);
}

static evn_status open_scorer(evn_scorer *s, evn_split_mode split, uint64_t n_windows, evn_error *err)
{
	EVN_TRY(evn_prepare(&s->prepared, s->model, &s->options, EVN_FOR_TEXT, err));
	EVN_TRY(choose(s, split, n_windows, err));
	EVN_TRY(make_fingerprint(s, err));
	uint64_t rows = LOGITS_BYTES / (evn_model_hparams(s->model)->vocab * sizeof(float)) + 1;
	s->n_rows = rows < s->prepared.limits.n_ctx ? (uint32_t)rows : s->prepared.limits.n_ctx;
	for (uint32_t i = 0; i < s->n_workers; i++)
		s->workers[i].scorer = s;
	for (uint32_t i = 0; i < s->prepared.n; i++)
		s->load_bytes += s->info.split == EVN_SPLIT_SEQUENCE ? evn_split_bytes(&s->alone[i].split, 0)
															 : evn_split_bytes(&s->prepared.split, i);
	const evn_team_config team = {.n_ranks = s->n_workers, .on_failure = stop_others, .arg = s};
	EVN_TRY(evn_team_create(&s->team, &team, err));
	EVN_TRY(evn_team_run(s->team, load_worker, s, show_loading, s, err));
	return atomic_load(&s->stop) ? evn_fail(err, EVN_ERR_CANCELLED, "loading was stopped") : EVN_OK;
}

evn_status evn_scorer_open(evn_scorer **out, const evn_model *m, const evn_options *o, evn_split_mode split,
						   uint64_t n_windows, evn_error *err)
{
	*out = NULL;
	evn_scorer *s = calloc(1, sizeof *s);
	if (!s)
		return evn_fail_memory(err, "scorer", sizeof *s);
	s->model = m;
	s->options = *o;
	evn_status status = open_scorer(s, split, n_windows, err);
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
	evn_team_free(s->team);
	for (uint32_t i = 0; i < EVN_MAX_RANKS; i++) {
		evn_session_free(s->workers[i].session);
		evn_engine_close(s->workers[i].engine);
		free(s->workers[i].logits);
		evn_prepared_free(&s->alone[i]);
	}
	evn_prepared_free(&s->prepared);
	free(s);
}

/* ---- windows --------------------------------------------------------------------------------------------------- */

typedef struct {
	evn_scorer *s;
	evn_window *windows;
	size_t n, next;
	uint64_t n_left;          /* the windows that nobody has taken */
	bool by_shares;           /* windows are divided by given shares, not by who is free */
	uint64_t total, finished; /* tokens of all windows to compute, and tokens computed so far */
	bool *computed;           /* (n) computed in this run */
	pthread_mutex_t lock;     /* guards all of this except windows[].done, which belongs to the caller */
	evn_progress_fn progress;
	void *user;
} run;

/* True if the other ranks would finish all remaining windows before this rank had finished one. On average each of
 * them is now in the middle of a window. */
static bool would_end_last(const run *r, const worker *w)
{
	const evn_scorer *s = r->s;
	double others = 0;
	for (uint32_t i = 0; i < s->n_workers; i++)
		others += &s->workers[i] != w && s->workers[i].quota > 0 ? s->workers[i].tok_s : 0;
	return others > 0 && ((double)r->n_left + 0.5 * (s->n_workers - 1)) * w->tok_s < others;
}

/* Takes the next window. False if there is none for this worker. */
static bool next_window(run *r, worker *w, size_t *index)
{
	pthread_mutex_lock(&r->lock);
	bool found = r->n_left > 0 && w->quota > 0 && (r->by_shares || !would_end_last(r, w));
	if (!found) {
		w->quota = 0;
	} else {
		while (r->windows[r->next].done)
			r->next++;
		*index = r->next++;
		r->n_left--;
		w->quota--;
	}
	pthread_mutex_unlock(&r->lock);
	return found;
}

static evn_status compute(worker *w, evn_window *win, evn_error *err)
{
	uint32_t vocab = evn_model_hparams(w->scorer->model)->vocab, end = win->n_ids - 1;
	EVN_TRY(evn_session_rewind(w->session, 0, err));
	w->before = 0;
	if (win->first > 1)
		EVN_TRY(evn_session_eval(w->session, win->ids, win->first - 1, NULL, err));
	for (uint32_t at = win->first - 1, n; at < end; at += n) {
		n = end - at < w->scorer->n_rows ? end - at : w->scorer->n_rows;
		w->before = at;
		EVN_TRY(evn_session_eval(w->session, win->ids + at, n, w->logits, err));
		for (uint32_t i = 0; i < n; i++) {
			const float *logits = w->logits + (uint64_t)i * vocab;
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
	worker *w = &r->s->workers[index];
	size_t i;
	while (!atomic_load(&r->s->stop) && next_window(r, w, &i)) {
		uint32_t n = r->windows[i].n_ids - 1;
		uint64_t began = evn_now_ns();
		EVN_TRY(compute(w, &r->windows[i], err));
		pthread_mutex_lock(&r->lock);
		w->tok_s = n / ((double)(evn_now_ns() - began) * 1e-9);
		w->windows++;
		w->tokens += n;
		r->finished += n;
		r->computed[i] = true;
		atomic_store(&w->at, 0);
		pthread_mutex_unlock(&r->lock);
	}
	return EVN_OK;
}

static void report(void *arg)
{
	run *r = arg;
	pthread_mutex_lock(&r->lock);
	for (size_t i = 0; i < r->n; i++)
		r->windows[i].done |= r->computed[i];
	uint64_t done = r->finished + sum_progress(r->s);
	pthread_mutex_unlock(&r->lock);
	if (r->progress && !r->progress(r->user, "scoring", done < r->total ? done : r->total, r->total))
		atomic_store(&r->s->stop, true);
}

/* With given shares each worker has a quota. Otherwise a free worker takes the next window. */
static evn_status set_quotas(run *r, evn_error *err)
{
	evn_scorer *s = r->s;
	double shares[EVN_MAX_RANKS], sum = 0, part = 0;
	for (uint32_t i = 0; i < s->n_workers; i++) {
		s->workers[i].quota = r->n_left;
		r->by_shares |= s->n_workers > 1 && s->prepared.ranks[i].share >= 0;
	}
	if (!r->by_shares)
		return EVN_OK;
	EVN_TRY(evn_plan_shares(shares, NULL, s->prepared.ranks, s->n_workers, err));
	for (uint32_t i = 0; i < s->n_workers; i++)
		sum += shares[i];
	for (uint32_t i = 0; i < s->n_workers; i++) {
		double begin = round((double)r->n_left * part / sum);
		part += shares[i];
		s->workers[i].quota = (uint64_t)(round((double)r->n_left * part / sum) - begin);
	}
	return EVN_OK;
}

static evn_status check_windows(run *r, evn_error *err)
{
	for (size_t i = 0; i < r->n; i++) {
		const evn_window *w = &r->windows[i];
		if (w->first < 1 || w->first >= w->n_ids)
			return evn_fail(err, EVN_ERR_USAGE, "window %zu: token %u of %u is not one that can be scored", i,
							w->first, w->n_ids);
		r->n_left += !w->done;
		r->total += w->done ? 0 : w->n_ids - 1;
	}
	return EVN_OK;
}

evn_status evn_scorer_run(evn_scorer *s, evn_window *windows, size_t n, evn_progress_fn progress, void *user,
						  evn_error *err)
{
	run r = {.s = s, .windows = windows, .n = n, .progress = progress, .user = user};
	EVN_TRY(check_windows(&r, err));
	EVN_TRY(set_quotas(&r, err));
	r.computed = calloc(n + 1, sizeof *r.computed);
	if (!r.computed)
		return evn_fail_memory(err, "windows", n + 1);
	pthread_mutex_init(&r.lock, NULL);
	atomic_store(&s->stop, false);
	for (uint32_t i = 0; i < s->n_workers; i++)
		atomic_store(&s->workers[i].at, 0);
	evn_status status = evn_team_run(s->team, work, &r, report, &r, err);
	report(&r);
	if (status == EVN_OK && r.n_left > 0)
		status = evn_fail(err, EVN_ERR_CANCELLED, "scoring was stopped with %llu windows left",
						  (unsigned long long)r.n_left);
	pthread_mutex_destroy(&r.lock);
	free(r.computed);
	return status;
}

const evn_score_info *evn_scorer_info(evn_scorer *s)
{
	uint64_t tokens = 0;
	for (uint32_t i = 0; i < s->n_workers; i++)
		tokens += s->workers[i].tokens;
	for (uint32_t i = 0; i < s->info.n_ranks; i++) {
		const worker *w = &s->workers[s->n_workers > 1 ? i : 0];
		s->ranks[i].windows = w->windows;
		if (s->n_workers > 1)
			s->ranks[i].share = tokens ? (double)w->tokens / (double)tokens : 0;
	}
	return &s->info;
}
