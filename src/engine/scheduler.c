/* scheduler.c - the thread that computes steps for all requests, and the functions that other threads call.
 *
 * The thread alone touches the schedule and the running requests. Other threads leave a request among the arrivals,
 * set its `cancelled`, and wait for its `ended`. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/cache_file.h"
#include "engine/engine.h"
#include "engine/request.h"
#include "nn/top.h"

#define MAX_WAITING 1024u
#define CHUNK 256u /* prompt rows beside decoding ones: they wait for it */

/* An output row: the logits behind the request's id at `position`. */
typedef struct {
	evn_request *request;
	uint32_t position;
} output;

/* The rows of a step, and what its logits are for. */
typedef struct {
	float *x, *scratch; /* (n_batch, stride), (stride) */
	evn_span *spans;    /* (n_batch) */
	uint32_t *out_rows; /* (n_batch) */
	output *outputs;    /* (n_batch) of each output row */
	void *out;          /* logits, or lists of the largest */
	uint64_t out_bytes; /* its room */
	uint32_t stride;
} step_rows;

struct evn_scheduler {
	evn_engine *e;
	pthread_t thread;
	evn_schedule schedule;
	step_rows rows;
	pthread_mutex_t lock; /* guards what follows, and `ended` of requests */
	pthread_cond_t changed;
	evn_request *arrivals, **last_arrival;
	uint32_t n_alive, max_waiting; /* n_alive: submitted, not ended */
	atomic_bool stop;
	evn_scheduler_stats stats;
	evn_comm_times before[EVN_MAX_RANKS]; /* the communicator's times when the scheduler began */
	uint64_t bytes_read[EVN_MAX_RANKS];
};

static uint32_t vocab_of(const evn_scheduler *s) { return evn_model_hparams(s->e->model)->vocab; }
static evn_request *request_of(evn_job *j) { return (evn_request *)(void *)j; }

static evn_status make_rows(evn_scheduler *s, evn_error *err)
{
	step_rows *r = &s->rows;
	const uint32_t n = s->e->prepared.limits.n_batch;
	r->stride = (uint32_t)evn_round_up(evn_model_hparams(s->e->model)->dim, EVN_PAD);
	r->x = calloc((uint64_t)n * r->stride, sizeof *r->x);
	r->scratch = malloc(r->stride * sizeof *r->scratch);
	r->spans = malloc(n * sizeof *r->spans);
	r->out_rows = malloc(n * sizeof *r->out_rows);
	r->outputs = malloc(n * sizeof *r->outputs);
	return r->x && r->scratch && r->spans && r->out_rows && r->outputs
			   ? EVN_OK
			   : evn_fail_memory(err, "scheduler", (uint64_t)n * r->stride * sizeof *r->x);
}

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
		evn_schedule_add(&s->schedule, &r->job);
	}
}

static void finish(evn_scheduler *s, evn_request *r, evn_request_end end)
{
	const double now = evn_now_s();
	const double began = r->began_s > 0 ? r->began_s : now, first = r->first_s > 0 ? r->first_s : now;
	pthread_mutex_lock(&s->e->lock);
	evn_schedule_remove(&s->schedule, &r->job);
	pthread_mutex_unlock(&s->e->lock);
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
		if (atomic_load(&s->stop) || atomic_load(&request_of(j)->cancelled))
			finish(s, request_of(j), EVN_END_CANCELLED);
	}
}

/* ---- one step -------------------------------------------------------------------------------------------------- */

static evn_phase phase_of(const evn_job *j)
{
	return evn_job_in_prompt(j) && j->n_prompt > 1 ? EVN_PROMPT : EVN_DECODE;
}

/* Appends the job's rows to the batch: a piece of a prompt is one span, a decoded row is a span of its own. */
static evn_status add_rows(evn_scheduler *s, evn_job *j, evn_batch *b, evn_error *err)
{
	step_rows *rows = &s->rows;
	const evn_phase phase = phase_of(j);
	const uint32_t n_spans = phase == EVN_PROMPT ? 1 : j->n_next;
	EVN_TRY(evn_embed(&s->e->embedding, j->ids + j->n_done, j->n_next, j->n_done,
					  rows->x + (uint64_t)b->n_rows * rows->stride, rows->stride, rows->scratch, err));
	for (uint32_t i = 0; i < n_spans; i++) {
		const uint32_t n = phase == EVN_PROMPT ? j->n_next : 1;
		rows->spans[b->n_spans++] = (evn_span){
			.slot = &j->slot, .first_row = b->n_rows, .n_rows = n, .position = j->n_done + i, .phase = phase};
		b->n_rows += n;
	}
	for (uint32_t i = 0; i < j->n_next; i++)
		if (evn_request_wants(request_of(j), j->n_done + i)) {
			rows->outputs[b->n_out] = (output){request_of(j), j->n_done + i};
			rows->out_rows[b->n_out++] = b->n_rows - j->n_next + i;
		}
	return EVN_OK;
}

static evn_status make_room_for_logits(evn_scheduler *s, uint64_t bytes, evn_error *err)
{
	if (bytes <= s->rows.out_bytes)
		return EVN_OK;
	free(s->rows.out);
	s->rows.out = malloc(bytes);
	s->rows.out_bytes = s->rows.out ? bytes : 0;
	return s->rows.out ? EVN_OK : evn_fail_memory(err, "logits", bytes);
}

/* Devices with their own memory send no more than the largest logits, if they suffice for all rows of the step. */
static evn_status choose_output(evn_scheduler *s, evn_batch *b, evn_error *err)
{
	uint32_t least = EVN_TOP_MOST, most = 0;
	for (uint32_t i = 0; i < b->n_out; i++) {
		const uint32_t n = evn_request_needs(s->rows.outputs[i].request, s->rows.outputs[i].position);
		least = n < least ? n : least;
		most = n > most ? n : most;
	}
	if (!s->e->finds_top || !least || !most) {
		EVN_TRY(make_room_for_logits(s, (uint64_t)b->n_out * vocab_of(s) * sizeof(float), err));
		b->out = s->rows.out;
		return EVN_OK;
	}
	b->output = EVN_OUT_TOP;
	b->n_top = most;
	b->n_lists = evn_top_lists(vocab_of(s), s->e->n_ranks);
	const uint64_t bytes = (uint64_t)b->n_out * b->n_lists * b->n_top * sizeof(uint64_t);
	EVN_TRY(make_room_for_logits(s, bytes, err));
	b->top = memset(s->rows.out, 0xff, bytes); /* EVN_TOP_NONE */
	return EVN_OK;
}

static evn_status make_batch(evn_scheduler *s, evn_batch *b, evn_error *err)
{
	*b = (evn_batch){.spans = s->rows.spans, .x = s->rows.x, .out_rows = s->rows.out_rows};
	for (evn_phase phase = EVN_PROMPT;; phase = EVN_DECODE) { /* all prompts come first */
		for (evn_job *j = s->schedule.jobs; j; j = j->next)
			if (j->n_next && phase_of(j) == phase)
				EVN_TRY(add_rows(s, j, b, err));
		if (phase == EVN_DECODE)
			break;
	}
	return choose_output(s, b, err);
}

/* A step of a long prompt takes a while. It is broken off if nobody wants its rows any more. */
static bool go_on(void *arg)
{
	const evn_scheduler *s = arg;
	if (atomic_load(&s->stop))
		return false;
	for (evn_job *j = s->schedule.jobs; j; j = j->next)
		if (j->n_next && !atomic_load(&request_of(j)->cancelled))
			return true;
	return false;
}

static void note_begun(evn_scheduler *s)
{
	const double now = evn_now_s();
	for (evn_job *j = s->schedule.jobs; j; j = j->next) {
		evn_request *r = request_of(j);
		if (!j->n_next || r->began_s > 0)
			continue;
		r->began_s = now;
		pthread_mutex_lock(&s->lock);
		s->stats.cached_tokens += j->n_cached;
		pthread_mutex_unlock(&s->lock);
	}
}

/* Schedules and computes a step. b->n_rows is 0 if there was nothing to compute. */
static evn_status compute(evn_scheduler *s, evn_batch *b, evn_error *err)
{
	uint32_t n_rows;
	*b = (evn_batch){0};
	EVN_TRY(evn_schedule_next(&s->schedule, &n_rows, err));
	if (!n_rows)
		return EVN_OK;
	note_begun(s);
	EVN_TRY(make_batch(s, b, err));
	return evn_engine_step(s->e, b, &(evn_step_watch){go_on, s}, err);
}

static void count_rank(evn_scheduler *s, uint32_t i, const bool *has)
{
	for (evn_phase p = 0; p < EVN_PHASES; p++)
		s->bytes_read[i] += has[p] ? s->e->ranks[i].view->read_bytes[p] : 0;
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

static void use_logits(evn_scheduler *s, const output *o, const evn_row_logits *logits)
{
	bool ended;
	evn_request *r = o->request;
	if (o->position + 1 < r->job.n_ids) {
		evn_request_score(r, o->position + 1, logits->all, vocab_of(s));
		return;
	}
	pthread_mutex_lock(&s->lock);
	s->stats.tokens += !r->o.only_score; /* before the event: who hears of it may ask */
	pthread_mutex_unlock(&s->lock);
	if (evn_request_draw(r, s->e->model, logits, s->e->prepared.limits.n_ctx, &ended, &r->result.error) != EVN_OK)
		finish(s, r, EVN_END_FAILED); /* with the error that the draw has left */
	else if (ended)
		finish(s, r, r->result.end);
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
			fail(s, request_of(j), why);
	}
	if (!any && s->schedule.jobs)
		fail(s, request_of(s->schedule.jobs), why);
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
	s->rows = (step_rows){0}; /* a device that hangs may come back to them */
	return make_rows(s, why) == EVN_OK;
}

/* False if there was nothing to do. */
static bool step(evn_scheduler *s)
{
	evn_error err = {0};
	evn_batch b;
	const double began = evn_now_s();
	pthread_mutex_lock(&s->e->lock);
	const evn_status status = compute(s, &b, &err);
	if (status == EVN_OK)
		evn_schedule_done(&s->schedule);
	if (status == EVN_OK && b.n_rows)
		count(s, &b, began);
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
	for (uint32_t i = 0; i < b.n_out; i++) {
		const evn_row_logits row = {.all = b.out ? b.out + (uint64_t)i * vocab_of(s) : NULL,
									.top = b.top ? b.top + (uint64_t)i * b.n_lists * b.n_top : NULL,
									.n_lists = b.n_lists,
									.n_top = b.n_top};
		use_logits(s, &s->rows.outputs[i], &row);
	}
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

static void *run(void *arg)
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

/* ---- beginning and end ----------------------------------------------------------------------------------------- */

static void free_parts(evn_scheduler *s)
{
	step_rows *r = &s->rows;
	pthread_mutex_lock(&s->e->lock);
	evn_prefixes_free(s->schedule.prefixes);
	pthread_mutex_unlock(&s->e->lock);
	free(r->x);
	free(r->scratch);
	free(r->spans);
	free(r->out_rows);
	free(r->outputs);
	free(r->out);
	pthread_cond_destroy(&s->changed);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

static evn_status begin(evn_scheduler *s, const evn_scheduler_options *o, evn_error *err)
{
	const uint32_t n_batch = s->e->prepared.limits.n_batch;
	s->max_waiting = o && o->max_waiting ? o->max_waiting : MAX_WAITING;
	s->schedule = (evn_schedule){.pool = &s->e->pool,
								 .max_rows = n_batch,
								 .max_running = o && o->max_running < n_batch ? o->max_running : n_batch,
								 .chunk = o && o->prompt_chunk ? o->prompt_chunk : CHUNK};
	if (!s->schedule.max_running)
		s->schedule.max_running = n_batch;
	EVN_TRY(make_rows(s, err));
	EVN_TRY(evn_prefixes_create(&s->schedule.prefixes, &s->e->pool, err));
	s->stats.n_blocks = s->e->pool.n_blocks;
	for (uint32_t i = 0; i < s->e->n_ranks; i++)
		s->before[i] = evn_comm_rank_times(s->e->comm, i);
	return pthread_create(&s->thread, NULL, run, s) == 0
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
	if (o->n_prompt > n_ctx)
		return evn_fail(err, EVN_ERR_LIMIT, "context: the prompt has %zu tokens, at most %u fit", o->n_prompt, n_ctx);
	EVN_TRY(evn_request_create(&r, s->e->model, o, err));
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

evn_status evn_scheduler_save(evn_scheduler *s, const int32_t *ids, size_t n, const char *path, size_t *n_saved,
							  evn_error *err)
{
	uint32_t known = 0;
	const uint32_t most = (uint32_t)(n < UINT32_MAX ? n : UINT32_MAX);
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
	EVN_TRY(evn_cache_file_open(&f, s->e, path, err));
	evn_cache_file_ids(f, &n);
	pthread_mutex_lock(&s->e->lock);
	const evn_status status = load(s, f, err);
	pthread_mutex_unlock(&s->e->lock);
	evn_cache_file_close(f);
	*n_loaded = status == EVN_OK ? n : 0;
	return status;
}
