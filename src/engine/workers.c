#include "engine/workers.h"

#include <math.h>
#include <stdio.h>

#include "evener/inspect.h"

/* ---- choosing the split ---------------------------------------------------------------------------------------- */

/* Checks that every rank has room for the whole model. */
static evn_status try_sequence(evn_workers *w, double *speeds, uint64_t n_pieces, evn_error *err)
{
	evn_prepared *p = &w->prepared;
	evn_error why = {0};
	if (p->cluster) {
		w->info.reason = "there are several nodes, and each has its devices only";
		return EVN_OK;
	}
	for (uint32_t i = 0; i < p->n; i++) {
		evn_status status = evn_prepare_alone(&w->alone[i], p, i, &why);
		if (status == EVN_ERR_LIMIT) {
			snprintf(w->reason, sizeof w->reason, "%s: %.200s", w->info.plan->ranks[i].device, why.text);
			w->info.reason = w->reason;
			return EVN_OK;
		}
		if (status != EVN_OK)
			return evn_fail(err, status, "%s", why.text);
	}
	return evn_predict_sequences(speeds, &w->info.sequence_tok_s, &p->shape, p->ranks, p->n, n_pieces, err);
}

static void show_ranks(evn_workers *w, const evn_plan_info *plan)
{
	w->info.plan = plan;
	w->info.n_ranks = plan->n_ranks;
	w->info.ranks = w->ranks;
	for (uint32_t i = 0; i < plan->n_ranks; i++)
		w->ranks[i] = (evn_score_rank){
			.device = plan->ranks[i].device, .name = plan->ranks[i].name, .share = plan->ranks[i].share_prefill};
}

static evn_status choose(evn_workers *w, evn_split_mode asked, uint64_t n_pieces, evn_error *err)
{
	double speeds[EVN_MAX_RANKS] = {0};
	evn_score_info *info = &w->info;
	show_ranks(w, evn_plan_get(w->prepared.plan));
	info->tensor_tok_s = info->plan->prefill_tok_s;
	EVN_TRY(try_sequence(w, speeds, n_pieces, err));
	if (asked == EVN_SPLIT_SEQUENCE && info->reason)
		return evn_fail(err, EVN_ERR_LIMIT, "split: sequence needs the whole model on every device; %s",
						info->reason);
	bool faster = w->prepared.n > 1 && info->sequence_tok_s > info->tensor_tok_s;
	info->split = asked != EVN_SPLIT_AUTO ? asked : faster ? EVN_SPLIT_SEQUENCE : EVN_SPLIT_TENSOR;
	w->n = info->split == EVN_SPLIT_SEQUENCE ? w->prepared.n : 1;
	for (uint32_t i = 0; i < w->n; i++)
		w->at[i].speed = speeds[i];
	return EVN_OK;
}

evn_status evn_workers_prepare(evn_workers *w, const evn_model *m, const evn_options *o, evn_split_mode split,
							   uint64_t n_pieces, evn_error *err)
{
	w->model = m;
	w->options = *o;
	pthread_mutex_init(&w->lock, NULL);
	EVN_TRY(evn_prepare(&w->prepared, m, o, EVN_FOR_TEXT, err));
	EVN_TRY(choose(w, split, n_pieces, err));
	for (uint32_t i = 0; i < w->n; i++)
		w->at[i].of = w;
	for (uint32_t i = 0; i < w->prepared.n; i++)
		w->load_bytes += w->info.split == EVN_SPLIT_SEQUENCE ? evn_split_bytes(&w->alone[i].split, 0)
															 : evn_split_bytes(&w->prepared.split, i);
	return EVN_OK;
}

/* ---- loading --------------------------------------------------------------------------------------------------- */

/* The ticks of the team pass the progress to the caller. */
bool evn_worker_note(void *user, const char *what, uint64_t done, uint64_t total)
{
	evn_worker *w = user;
	(void)what, (void)total;
	atomic_store(&w->at, w->before + done);
	return !atomic_load(&w->of->stop);
}

static uint64_t sum_progress(const evn_workers *w)
{
	uint64_t sum = 0;
	for (uint32_t i = 0; i < w->n; i++)
		sum += atomic_load(&w->at[i].at);
	return sum;
}

static void show_loading(void *arg)
{
	evn_workers *w = arg;
	const evn_options *o = &w->options;
	if (o->progress && !o->progress(o->progress_user, "loading", sum_progress(w), w->load_bytes))
		atomic_store(&w->stop, true);
}

static evn_status load_worker(void *arg, uint32_t i, evn_error *err)
{
	evn_workers *w = arg;
	evn_options o = w->options;
	o.progress = evn_worker_note;
	o.progress_user = &w->at[i];
	evn_prepared *p = w->info.split == EVN_SPLIT_SEQUENCE ? &w->alone[i] : &w->prepared;
	return evn_engine_open_prepared(&w->at[i].engine, w->model, &o, p, err);
}

static void stop_others(void *arg)
{
	evn_workers *w = arg;
	atomic_store(&w->stop, true);
}

evn_status evn_workers_load(evn_workers *w, evn_error *err)
{
	const evn_team_config team = {.n_ranks = w->n, .on_failure = stop_others, .arg = w};
	EVN_TRY(evn_team_create(&w->team, &team, err));
	EVN_TRY(evn_team_run(w->team, load_worker, w, show_loading, w, err));
	return atomic_load(&w->stop) ? evn_fail(err, EVN_ERR_CANCELLED, "loading was stopped") : EVN_OK;
}

void evn_workers_close(evn_workers *w)
{
	for (uint32_t i = 0; i < EVN_MAX_RANKS; i++) {
		evn_engine_close(w->at[i].engine);
		evn_prepared_free(&w->alone[i]);
	}
	evn_prepared_free(&w->prepared);
	if (w->model)
		pthread_mutex_destroy(&w->lock);
}

/* ---- pieces ---------------------------------------------------------------------------------------------------- */

/* True if the other ranks would finish all remaining pieces before this rank had finished one. On average each of
 * them is now in the middle of a piece. */
static bool would_end_last(const evn_workers *w, const evn_worker *one)
{
	double others = 0;
	for (uint32_t i = 0; i < w->n; i++)
		others += &w->at[i] != one && w->at[i].quota > 0 ? w->at[i].speed : 0;
	return others > 0 && ((double)w->n_left + 0.5 * (w->n - 1)) * one->speed < others;
}

bool evn_worker_takes(evn_worker *one)
{
	evn_workers *w = one->of;
	const bool takes = w->n_left > 0 && one->quota > 0 && (w->by_shares || !would_end_last(w, one));
	if (!takes) {
		one->quota = 0;
		return false;
	}
	w->n_left--;
	one->quota--;
	return true;
}

void evn_worker_finished(evn_worker *w, uint64_t pieces, uint64_t rows, uint64_t took_ns)
{
	w->speed = (double)rows / ((double)took_ns * 1e-9);
	w->pieces += pieces;
	w->rows += rows;
	w->of->finished += rows;
	atomic_store(&w->at, 0);
}

/* With given shares each worker has a quota. Otherwise a free worker takes the next piece. */
static evn_status set_quotas(evn_workers *w, evn_error *err)
{
	double shares[EVN_MAX_RANKS], sum = 0, part = 0;
	w->by_shares = false;
	for (uint32_t i = 0; i < w->n; i++) {
		w->at[i].quota = w->n_left;
		w->by_shares |= w->n > 1 && w->prepared.ranks[i].share >= 0;
	}
	if (!w->by_shares)
		return EVN_OK;
	EVN_TRY(evn_plan_shares(shares, NULL, w->prepared.ranks, w->n, err));
	for (uint32_t i = 0; i < w->n; i++)
		sum += shares[i];
	for (uint32_t i = 0; i < w->n; i++) {
		double begin = round((double)w->n_left * part / sum);
		part += shares[i];
		w->at[i].quota = (uint64_t)(round((double)w->n_left * part / sum) - begin);
	}
	return EVN_OK;
}

typedef struct {
	evn_workers *w;
	void (*tick)(void *);
	void *arg;
} reporter;

static void report(void *arg)
{
	const reporter *r = arg;
	evn_workers *w = r->w;
	pthread_mutex_lock(&w->lock);
	if (r->tick)
		r->tick(r->arg);
	const uint64_t done = w->finished + sum_progress(w);
	pthread_mutex_unlock(&w->lock);
	if (w->progress && !w->progress(w->user, w->doing, done < w->total ? done : w->total, w->total))
		atomic_store(&w->stop, true);
}

evn_status evn_workers_run(evn_workers *w, evn_rank_fn work, void (*tick)(void *), void *arg, evn_error *err)
{
	reporter r = {w, tick, arg};
	EVN_TRY(set_quotas(w, err));
	w->finished = 0;
	atomic_store(&w->stop, false);
	for (uint32_t i = 0; i < w->n; i++)
		atomic_store(&w->at[i].at, 0);
	evn_status status = evn_team_run(w->team, work, arg, report, &r, err);
	report(&r);
	if (status == EVN_OK && w->n_left > 0)
		status = evn_fail(err, EVN_ERR_CANCELLED, "%s was stopped with %llu pieces left", w->doing,
						  (unsigned long long)w->n_left);
	return status;
}

/* One engine over all ranks may have gone on without one of them. */
const evn_score_info *evn_workers_info(evn_workers *w)
{
	uint64_t rows = 0;
	if (w->n == 1 && w->at[0].engine)
		show_ranks(w, evn_engine_plan(w->at[0].engine));
	for (uint32_t i = 0; i < w->n; i++)
		rows += w->at[i].rows;
	for (uint32_t i = 0; i < w->info.n_ranks; i++) {
		const evn_worker *one = &w->at[w->n > 1 ? i : 0];
		w->ranks[i].windows = one->pieces;
		if (w->n > 1)
			w->ranks[i].share = rows ? (double)one->rows / (double)rows : 0;
	}
	return &w->info;
}
