/* run.c - see run.h. */
#include "cli/batch/run.h"
#include "base/base.h"
#include "cli/batch/openai.h"
#include "cli/interrupt.h"
#include "cli/show/console.h"

#include <stdlib.h>

#define MAX_JOBS 256
#define MAX_REQUESTS 512 /* with the scheduler, of all jobs */
#define TICK_S 0.1

typedef struct {
	workshop *shop;
	journal *journal;
	job *jobs[MAX_JOBS]; /* that run */
	size_t n_jobs, n_requests;
	size_t next; /* in the input's order */
	size_t n_before;
	double began_s;
} batch_run;

static bool is_full(const batch_run *r)
{
	size_t labels = r->shop->settings->labels.n, each = labels > MAX_CHOICES ? labels : MAX_CHOICES;
	return r->n_jobs == MAX_JOBS || r->n_requests + each > MAX_REQUESTS;
}

static evn_status keep(batch_run *r, const job *j, char *record, evn_error *err)
{
	evn_status status = record ? journal_add(r->journal, j->piece, record, err) : evn_fail_memory(err, "a record", 0);
	free(record);
	return status;
}

static evn_status begin_piece(batch_run *r, size_t piece, evn_error *err)
{
	job *j = NULL;
	evn_error why = {0};
	evn_status status = job_begin(&j, r->shop, piece, &why);
	if (status == EVN_OK) {
		r->n_requests += j->n_parts;
		r->jobs[r->n_jobs++] = j;
		return EVN_OK;
	}
	if (!j)
		return evn_fail(err, status, "%s", why.text);
	status = keep(r, j, job_failure(j, &why), err);
	job_free(j);
	return status;
}

static evn_status fill_window(batch_run *r, evn_error *err)
{
	const batch_input *in = r->shop->input;
	for (; r->next < in->n && !is_full(r) && !interrupted(); r->next++)
		if (!journal_has(r->journal, in->order[r->next]))
			EVN_TRY(begin_piece(r, in->order[r->next], err));
	return EVN_OK;
}

static void forget(batch_run *r, job *j)
{
	for (size_t i = 0; i < r->n_jobs; i++)
		if (r->jobs[i] == j)
			r->jobs[i] = r->jobs[--r->n_jobs];
	r->n_requests -= j->n_parts;
	job_free(j);
}

/* One sync for all that have ended meanwhile. */
static evn_status take_ended(batch_run *r, evn_error *err)
{
	evn_status status = EVN_OK;
	job *list = workshop_take(r->shop, TICK_S);
	bool any = list != NULL;
	while (list) {
		job *j = list;
		char *record = NULL;
		list = j->next;
		if (status == EVN_OK)
			status = job_record(j, &record, err);
		if (status == EVN_OK)
			status = keep(r, j, record, err);
		forget(r, j);
	}
	return status == EVN_OK && any ? journal_sync(r->journal, err) : status;
}

static bool show_progress(const batch_run *r)
{
	size_t done = journal_count(r->journal), all = r->shop->input->n;
	double seconds = evn_now_s() - r->began_s;
	unsigned long long tokens = atomic_load(&r->shop->n_tokens);
	console_progress_note("%zu of %zu pieces, %.1f tokens/s", done, all, seconds > 0 ? (double)tokens / seconds : 0);
	return console_progress(NULL, "batch", done - r->n_before, all - r->n_before);
}

static evn_status compute(batch_run *r, evn_error *err)
{
	r->began_s = evn_now_s();
	r->n_before = journal_count(r->journal);
	for (;;) {
		EVN_TRY(fill_window(r, err));
		if (!show_progress(r))
			return evn_fail(err, EVN_ERR_CANCELLED, "interrupted");
		if (r->n_jobs == 0)
			return journal_sync(r->journal, err);
		EVN_TRY(take_ended(r, err));
	}
}

evn_status run_pieces(workshop *shop, evn_engine *engine, journal *j, evn_scheduler_stats *stats, evn_error *err)
{
	batch_run r = {.shop = shop, .journal = j};
	const evn_scheduler_options scheduling = {.speculate = (evn_speculate)shop->settings->speculate};
	EVN_TRY(workshop_start(shop, err));
	evn_status status = evn_scheduler_create(&shop->scheduler, engine, &scheduling, err);
	if (status == EVN_OK)
		status = compute(&r, err);
	console_progress_end();
	if (status != EVN_OK)
		console_note("%zu of %zu pieces are done; the same command continues from there", journal_count(j),
					 shop->input->n);
	if (shop->scheduler) {
		evn_scheduler_stop(shop->scheduler);
		*stats = evn_scheduler_get_stats(shop->scheduler);
	}
	for (size_t i = 0; i < r.n_jobs; i++)
		job_free(r.jobs[i]);
	evn_scheduler_free(shop->scheduler);
	workshop_end(shop);
	return status;
}
