/* requests.c - what other threads call of a scheduler: its beginning and end, requests, its cache in a file. */
#include <stdlib.h>

#include "engine/cache_file.h"
#include "engine/scheduler.h"

#define MAX_WAITING 1024u
#define CHUNK 256u /* prompt rows beside decoding ones: they wait for it */

/* ---- beginning and end ----------------------------------------------------------------------------------------- */

static void free_parts(evn_scheduler *s)
{
	pthread_mutex_lock(&s->e->lock);
	if (s->e->prefixes == s->schedule.prefixes)
		s->e->prefixes = NULL;
	evn_prefixes_free(s->schedule.prefixes);
	pthread_mutex_unlock(&s->e->lock);
	evn_step_rows_free(&s->rows);
	evn_draft_model_free(s->draft);
	pthread_cond_destroy(&s->changed);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

static evn_status begin(evn_scheduler *s, const evn_scheduler_options *o, evn_error *err)
{
	const uint32_t n_batch = s->e->prepared.limits.n_batch;
	s->max_waiting = o && o->max_waiting ? o->max_waiting : MAX_WAITING;
	s->speculate = o ? o->speculate : EVN_SPECULATE_AUTO;
	s->schedule = (evn_schedule){.pool = &s->e->pool,
								 .max_rows = n_batch,
								 .max_running = o && o->max_running < n_batch ? o->max_running : n_batch,
								 .chunk = o && o->prompt_chunk ? o->prompt_chunk : CHUNK};
	if (!s->schedule.max_running)
		s->schedule.max_running = n_batch;
	if (s->e->pool.n_states && s->e->pool.n_states < s->schedule.max_running)
		s->schedule.max_running = s->e->pool.n_states;
	EVN_TRY(evn_step_rows_make(&s->rows, s->e, err));
	EVN_TRY(evn_prefixes_create(&s->schedule.prefixes, &s->e->pool, err));
	pthread_mutex_lock(&s->e->lock);
	s->e->prefixes = s->schedule.prefixes;
	pthread_mutex_unlock(&s->e->lock);
	if (o && o->draft && s->e->pool.n_states) /* rows of wrong guesses could not be taken back */
		evn_engine_note(s->e, EVN_LOG_WARN, "the draft model is not used: this model has states");
	else if (o && o->draft && s->speculate != EVN_SPECULATE_OFF)
		EVN_TRY(evn_draft_model_create(&s->draft, o->draft, s->e, err));
	s->stats.n_blocks = s->e->pool.n_blocks;
	for (uint32_t i = 0; i < s->e->n_ranks; i++)
		s->before[i] = evn_comm_rank_times(s->e->comm, i);
	return pthread_create(&s->thread, NULL, evn_scheduler_run, s) == 0
			   ? EVN_OK
			   : evn_fail(err, EVN_ERR_MEMORY, "the scheduler's thread cannot be started");
}

evn_status evn_scheduler_create(evn_scheduler **out, evn_engine *e, const evn_scheduler_options *o, evn_error *err)
{
	*out = NULL;
	evn_scheduler *s = calloc(1, sizeof *s);
	if (!s)
		return evn_fail_memory(err, "scheduler", sizeof *s);
	s->e = e;
	s->last_arrival = &s->arrivals;
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->changed, NULL);
	evn_status status = begin(s, o, err);
	if (status != EVN_OK) {
		free_parts(s);
		return status;
	}
	*out = s;
	return EVN_OK;
}

void evn_scheduler_stop(evn_scheduler *s)
{
	pthread_mutex_lock(&s->lock);
	const bool first = !atomic_exchange(&s->stop, true);
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	if (first)
		pthread_join(s->thread, NULL);
}

void evn_scheduler_free(evn_scheduler *s)
{
	if (!s)
		return;
	evn_scheduler_stop(s);
	free_parts(s);
}

/* ---- what other threads call ----------------------------------------------------------------------------------- */

/* The lock is held. */
static evn_status check_open(const evn_scheduler *s, evn_error *err)
{
	const uint32_t n_waiting = s->n_alive > s->stats.n_running ? s->n_alive - s->stats.n_running : 0;
	if (atomic_load(&s->stop))
		return evn_fail(err, EVN_ERR_CANCELLED, "the scheduler was stopped");
	if (n_waiting >= s->max_waiting)
		return evn_fail(err, EVN_ERR_LIMIT, "%u requests wait already, no more than %u may", n_waiting,
						s->max_waiting);
	return EVN_OK;
}

static evn_status enqueue(evn_scheduler *s, evn_request *r, evn_error *err)
{
	pthread_mutex_lock(&s->lock);
	const evn_status status = check_open(s, err);
	if (status == EVN_OK) {
		*s->last_arrival = r;
		s->last_arrival = &r->next;
		s->n_alive++;
		pthread_cond_broadcast(&s->changed);
	}
	pthread_mutex_unlock(&s->lock);
	return status;
}

evn_status evn_request_submit(evn_request **out, evn_scheduler *s, const evn_request_options *o, evn_error *err)
{
	evn_request *r;
	const uint32_t n_ctx = s->e->prepared.limits.n_ctx;
	*out = NULL;
	EVN_TRY(evn_engine_check_decoder(s->e, err));
	if (s->e->prepared.graph->n_encoder)
		return evn_fail(err, EVN_ERR_UNSUPPORTED,
						"%s: a model with an encoder and a decoder takes no requests; `evener run` runs it",
						evn_gguf_name(evn_model_gguf(s->e->model)));
	if (o->n_prompt > n_ctx)
		return evn_fail(err, EVN_ERR_LIMIT, "context: the prompt has %zu tokens, at most %u fit", o->n_prompt, n_ctx);
	EVN_TRY(evn_request_create(&r, s->e->model, o, err));
	/* where there are states, rows of wrong guesses could not be taken back */
	if (s->speculate != EVN_SPECULATE_OFF && !o->only_score && !s->e->pool.n_states) {
		const evn_status made = evn_lookup_create(&r->lookup, err);
		if (made != EVN_OK) {
			evn_request_destroy(r);
			return made;
		}
	}
	r->scheduler = s;
	r->arrived_s = evn_now_s();
	r->job.due_s = r->arrived_s + (double)o->priority * EVN_AGEING_S;
	*out = r; /* before its first event */
	evn_status status = enqueue(s, r, err);
	if (status != EVN_OK) {
		*out = NULL;
		evn_request_destroy(r);
	}
	return status;
}

void evn_request_cancel(evn_request *r) { atomic_store(&r->cancelled, true); }

evn_request_result evn_request_wait(evn_request *r)
{
	evn_scheduler *s = r->scheduler;
	pthread_mutex_lock(&s->lock);
	while (!r->ended)
		pthread_cond_wait(&s->changed, &s->lock);
	pthread_mutex_unlock(&s->lock);
	return r->result;
}

void evn_request_free(evn_request *r)
{
	if (!r)
		return;
	evn_request_cancel(r);
	evn_request_wait(r);
	evn_request_destroy(r);
}

evn_scheduler_stats evn_scheduler_get_stats(evn_scheduler *s)
{
	pthread_mutex_lock(&s->lock);
	evn_scheduler_stats stats = s->stats; /* as of the last step; requests have come and ended since */
	stats.n_running = stats.n_running < s->n_alive ? stats.n_running : s->n_alive;
	stats.n_waiting = s->n_alive - stats.n_running;
	pthread_mutex_unlock(&s->lock);
	return stats;
}

/* ---- keys and values in a file --------------------------------------------------------------------------------- */

static evn_status save(evn_scheduler *s, const int32_t *ids, uint32_t n, const char *path, uint32_t *n_saved,
					   evn_error *err)
{
	evn_slot slot = {0};
	evn_status status = evn_prefix_take(s->schedule.prefixes, ids, n, &slot, n_saved, err);
	if (status == EVN_OK && *n_saved)
		status = evn_cache_file_write(s->e, path, &slot, ids, *n_saved, err);
	evn_prefix_keep_tail(s->schedule.prefixes, ids, *n_saved, &slot);
	evn_slot_free(&slot, &s->e->pool);
	return status;
}

static evn_status check_kept(const evn_scheduler *s, evn_error *err)
{
	if (s->e->prepared.cluster)
		return evn_fail(err, EVN_ERR_UNSUPPORTED, "keys and values of several nodes cannot be kept in a file");
	if (s->e->pool.n_states)
		return evn_fail(
			err, EVN_ERR_UNSUPPORTED,
			"keys and values of a model with states cannot be kept in a file: the states would be missing");
	return EVN_OK;
}

evn_status evn_scheduler_save(evn_scheduler *s, const int32_t *ids, size_t n, const char *path, size_t *n_saved,
							  evn_error *err)
{
	uint32_t known = 0;
	const uint32_t most = (uint32_t)(n < UINT32_MAX ? n : UINT32_MAX);
	*n_saved = 0;
	EVN_TRY(check_kept(s, err));
	pthread_mutex_lock(&s->e->lock);
	const evn_status status = save(s, ids, most, path, &known, err);
	pthread_mutex_unlock(&s->e->lock);
	*n_saved = status == EVN_OK ? known : 0;
	return status;
}

static evn_status load(evn_scheduler *s, evn_cache_file *f, evn_error *err)
{
	uint32_t n;
	evn_slot slot = {0};
	const int32_t *ids = evn_cache_file_ids(f, &n);
	evn_prefixes_make_room(s->schedule.prefixes, evn_blocks_for(n));
	EVN_TRY(evn_slot_extend(&slot, &s->e->pool, n, err));
	const evn_status status = evn_cache_file_read(f, &slot, err);
	if (status == EVN_OK) {
		evn_prefix_keep(s->schedule.prefixes, ids, n, &slot);
		evn_prefix_keep_tail(s->schedule.prefixes, ids, n, &slot);
	}
	evn_slot_free(&slot, &s->e->pool);
	return status;
}

evn_status evn_scheduler_load(evn_scheduler *s, const char *path, size_t *n_loaded, evn_error *err)
{
	evn_cache_file *f;
	uint32_t n;
	*n_loaded = 0;
	EVN_TRY(check_kept(s, err));
	EVN_TRY(evn_cache_file_open(&f, s->e, path, err));
	evn_cache_file_ids(f, &n);
	pthread_mutex_lock(&s->e->lock);
	const evn_status status = load(s, f, err);
	pthread_mutex_unlock(&s->e->lock);
	evn_cache_file_close(f);
	*n_loaded = status == EVN_OK ? n : 0;
	return status;
}
