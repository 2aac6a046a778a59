/* session.c - one sequence of tokens: its ids, its blocks of the KV cache, the logits of the last id. */
#include <stdlib.h>
#include <string.h>

#include "engine/follow.h"
#include "evener/translate.h"

struct evn_session {
	evn_engine *e;
	evn_slot slot;
	int32_t *ids; /* (n_ctx) the ids of the first `position` tokens; with them a lost cache can be computed again */
	uint32_t position;
	/* Of a model with an encoder: the text that it has read, and the cache blocks of what it says. n_remembered: the
	 * positions that are in the cache; 0 after a loss, the text is then read again. */
	int32_t *text; /* (n_ctx) */
	uint32_t n_text, n_remembered;
	evn_slot memory;
	uint32_t n_held; /* of them are in the cache; the others are computed again when there is more to compute */
	bool has_logits, begun;      /* begun: its first tokens have been computed */
	float *logits, *next_logits; /* (vocab) of the last id, and of the current call */
	float *embeddings;           /* (n_batch, stride); scratch for one row */
	float *rows;                 /* (n_rows, vocab): the logits of a step if those of all its rows are wanted */
	size_t n_rows;
	uint32_t stride;
	uint32_t n_recoveries;                /* of the engine, when its cache blocks were computed */
	evn_comm_times before[EVN_MAX_RANKS]; /* the communicator's times when the session began */
	uint64_t bytes_read[EVN_MAX_RANKS];
};

static uint32_t vocab_of(const evn_session *s) { return evn_model_hparams(s->e->model)->vocab; }
static uint32_t context_of(const evn_session *s) { return s->e->prepared.limits.n_ctx; }

/* ---- beginning and end ----------------------------------------------------------------------------------------- */

static evn_status grow_cache(void *arg, uint32_t rank, evn_error *err)
{
	evn_engine *e = arg;
	const uint32_t n_blocks = evn_session_blocks(e) * e->n_sessions;
	EVN_TRY(evn_cache_grow(e->ranks[rank].cache, e->ranks[rank].queue, n_blocks, err));
	return evn_cache_grow_states(e->ranks[rank].cache, e->ranks[rank].queue, e->n_sessions, err);
}

evn_status evn_engine_grow_cache(evn_engine *e, evn_error *err)
{
	EVN_TRY(evn_lead_growth(e, err));
	return evn_engine_run(e, grow_cache, e, NULL, NULL, err);
}

static void begin_times(evn_session *s)
{
	evn_engine *e = s->e;
	s->n_recoveries = e->n_recoveries;
	for (uint32_t i = 0; i < e->n_ranks; i++)
		s->before[i] = evn_comm_rank_times(e->comm, i);
	memset(s->bytes_read, 0, sizeof s->bytes_read);
}

/* Makes room in the cache for one more session. Every session may fill its context. */
static evn_status join(evn_session *s, evn_error *err)
{
	evn_engine *e = s->e;
	uint64_t began = evn_now_ns();
	pthread_mutex_lock(&e->lock);
	e->n_sessions++;
	evn_status status = evn_engine_grow_cache(e, err);
	if (status == EVN_OK)
		status = evn_pool_grow(&e->pool, evn_session_blocks(e) * e->n_sessions, err);
	if (status == EVN_OK && e->prepared.graph->has_states)
		status = evn_pool_grow_states(&e->pool, e->n_sessions, err);
	if (status != EVN_OK)
		e->n_sessions--;
	begin_times(s);
	pthread_mutex_unlock(&e->lock);
	evn_log_took(began, "KV cache of %u tokens", context_of(s));
	return status;
}

/* What a step reads and writes. */
static evn_status make_step_buffers(evn_session *s, evn_error *err)
{
	const uint64_t floats = (uint64_t)s->stride * (s->e->prepared.limits.n_batch + 1u);
	s->next_logits = malloc(vocab_of(s) * sizeof *s->next_logits);
	s->embeddings = calloc(floats, sizeof *s->embeddings);
	s->rows = NULL;
	s->n_rows = 0;
	return s->next_logits && s->embeddings ? EVN_OK
										   : evn_fail_memory(err, "session", (floats + vocab_of(s)) * sizeof(float));
}

static evn_status make(evn_session *s, evn_error *err)
{
	s->stride = s->e->embedding.stride;
	s->ids = malloc(context_of(s) * sizeof *s->ids);
	s->text = malloc(context_of(s) * sizeof *s->text);
	s->logits = malloc(vocab_of(s) * sizeof *s->logits);
	if (!s->ids || !s->text || !s->logits)
		return evn_fail_memory(err, "session", (vocab_of(s) + context_of(s)) * sizeof(float));
	return make_step_buffers(s, err);
}

static void free_buffers(evn_session *s)
{
	free(s->ids);
	free(s->text);
	free(s->logits);
	free(s->next_logits);
	free(s->embeddings);
	free(s->rows);
	free(s);
}

evn_status evn_session_create(evn_session **out, evn_engine *e, evn_error *err)
{
	*out = NULL;
	EVN_TRY(evn_engine_check_decoder(e, err));
	evn_session *s = calloc(1, sizeof *s);
	if (!s)
		return evn_fail_memory(err, "session", sizeof *s);
	s->e = e;
	evn_status status = make(s, err);
	if (status == EVN_OK)
		status = join(s, err);
	if (status != EVN_OK) {
		free_buffers(s);
		return status;
	}
	*out = s;
	return EVN_OK;
}

void evn_session_free(evn_session *s)
{
	if (!s)
		return;
	pthread_mutex_lock(&s->e->lock);
	evn_slot_free(&s->slot, &s->e->pool);
	evn_slot_free(&s->memory, &s->e->pool);
	s->e->n_sessions--;
	pthread_mutex_unlock(&s->e->lock);
	free_buffers(s);
}

/* ---- computing ------------------------------------------------------------------------------------------------- */

/* The tokens of one call. */
typedef struct {
	evn_session *s;
	const int32_t *ids;
	size_t done, total;
	float *all_logits; /* (total, vocab), or NULL */
} call;

/* Asks the caller's progress function during a prompt. It can end the call. */
static bool go_on(void *arg)
{
	const call *c = arg;
	const evn_options *o = &c->s->e->options;
	return c->total <= 1 || !o->progress || o->progress(o->progress_user, "prompt", c->done, c->total);
}

static evn_status check_ids(const evn_session *s, const int32_t *ids, size_t n, evn_error *err)
{
	if (n == 0)
		return evn_fail(err, EVN_ERR_USAGE, "no tokens to compute");
	for (size_t i = 0; i < n; i++)
		if (ids[i] < 0 || (uint32_t)ids[i] >= vocab_of(s))
			return evn_fail(err, EVN_ERR_USAGE, "token id %d: the vocabulary has 0 to %u", ids[i], vocab_of(s) - 1);
	return EVN_OK;
}

static evn_status check_call(const evn_session *s, const int32_t *ids, size_t n, evn_error *err)
{
	EVN_TRY(check_ids(s, ids, n, err));
	if (s->e->prepared.graph->n_encoder && !s->n_text)
		return evn_fail(err, EVN_ERR_USAGE, "the model has an encoder, which has read no text yet");
	if (n > context_of(s) - s->position)
		return evn_fail(err, EVN_ERR_LIMIT, "context: %u tokens are held and %zu more do not fit into %u",
						s->position, n, context_of(s));
	return EVN_OK;
}

static evn_status make_room_for_rows(evn_session *s, size_t n, evn_error *err)
{
	if (n <= s->n_rows)
		return EVN_OK;
	free(s->rows);
	s->rows = malloc(n * vocab_of(s) * sizeof *s->rows);
	s->n_rows = s->rows ? n : 0;
	return s->rows ? EVN_OK : evn_fail_memory(err, "logits", n * vocab_of(s) * sizeof *s->rows);
}

/* Computes the next n tokens of the call, whose first one has the position `first`. If the call has several tokens,
 * all of them are a prompt, however it is cut into steps. */
static evn_status step(call *c, uint32_t first, uint32_t n, evn_error *err)
{
	evn_session *s = c->s;
	evn_engine *e = s->e;
	const uint32_t position = first + (uint32_t)c->done;
	const bool last = c->done + n == c->total;
	uint32_t *rows = malloc(n * sizeof *rows);
	if (!rows)
		return evn_fail_memory(err, "rows", n * sizeof *rows);
	for (uint32_t i = 0; i < n; i++)
		rows[i] = i;
	evn_status status = evn_embed(&e->embedding, c->ids + c->done, n, position, s->embeddings, s->stride,
								  s->embeddings + (uint64_t)s->stride * e->prepared.limits.n_batch, err);
	if (status == EVN_OK && c->all_logits)
		status = make_room_for_rows(s, n, err);
	const evn_span span = {.slot = &s->slot,
						   .n_rows = n,
						   .position = position,
						   .phase = c->total > 1 ? EVN_PROMPT : EVN_DECODE,
						   .memory = &s->memory,
						   .n_memory = s->n_remembered};
	const evn_batch batch = {.n_rows = n,
							 .n_spans = 1,
							 .spans = &span,
							 .x = s->embeddings,
							 .n_out = c->all_logits ? n : last,
							 .out_rows = c->all_logits ? rows : rows + n - 1,
							 .out = c->all_logits ? s->rows : s->next_logits};
	if (status == EVN_OK)
		status = evn_slot_extend(&s->slot, &e->pool, position + n, err);
	if (status == EVN_OK)
		status = evn_engine_step(e, &batch, &(evn_step_watch){go_on, c}, err);
	for (uint32_t i = 0; i < e->n_ranks && status == EVN_OK; i++)
		s->bytes_read[i] += evn_engine_read_bytes(e, i, span.phase);
	if (status == EVN_OK && c->all_logits)
		memcpy(c->all_logits + c->done * vocab_of(s), s->rows, (size_t)n * vocab_of(s) * sizeof *s->rows);
	free(rows);
	return status;
}

/* The encoder reads the text. The lock is held. */
static evn_status read_text(call *c, evn_error *err)
{
	evn_session *s = c->s;
	evn_engine *e = s->e;
	EVN_TRY(evn_embed(&e->embedding, s->text, s->n_text, 0, s->embeddings, s->stride,
					  s->embeddings + (uint64_t)s->stride * e->prepared.limits.n_batch, err));
	const evn_span span = {.slot = &s->memory, .n_rows = s->n_text, .phase = EVN_PROMPT};
	const evn_batch batch = {.n_rows = s->n_text, .n_spans = 1, .spans = &span, .encodes = true, .x = s->embeddings};
	EVN_TRY(evn_slot_extend(&s->memory, &e->pool, s->n_text, err));
	EVN_TRY(evn_engine_step(e, &batch, &(evn_step_watch){go_on, c}, err));
	for (uint32_t i = 0; i < e->n_ranks; i++)
		s->bytes_read[i] += evn_engine_read_bytes(e, i, EVN_PROMPT);
	s->n_remembered = s->n_text;
	return EVN_OK;
}

/* Computes the call's next n tokens. After a recovery of the engine first what the session has computed before:
 * `restored` of its tokens are there again. The lock is held. */
static evn_status advance(call *c, uint32_t *restored, evn_error *err)
{
	evn_session *s = c->s;
	const uint32_t most = s->e->prepared.limits.n_batch, left = s->position - *restored;
	if (s->n_recoveries != s->e->n_recoveries) {
		evn_slot_truncate(&s->slot, &s->e->pool, 0);
		s->n_remembered = 0;
		begin_times(s);
		c->done = 0;
		*restored = 0;
		return EVN_OK;
	}
	if (s->n_remembered < s->n_text)
		return read_text(c, err);
	if (!left) {
		const uint32_t n = (uint32_t)(c->total - c->done < most ? c->total - c->done : most);
		EVN_TRY(step(c, s->position, n, err));
		c->done += n;
		return EVN_OK;
	}
	call again = {.s = s, .ids = s->ids, .done = *restored, .total = s->position};
	const uint32_t n = left < most ? left : most;
	EVN_TRY(step(&again, 0, n, err));
	*restored += n;
	return EVN_OK;
}

/* After a step failed. If a device hangs, it may still come back to what it was given: that stays as it is. */
static evn_status recover(evn_session *s, evn_status status, evn_error *err)
{
	const uint32_t n_abandoned = s->e->n_abandoned;
	if (!evn_engine_recover(s->e, err))
		return status;
	return s->e->n_abandoned == n_abandoned ? EVN_OK : make_step_buffers(s, err);
}

/* Steps of other sessions may run between those of a long prompt. */
static evn_status steps(call *c, evn_error *err)
{
	evn_engine *e = c->s->e;
	evn_status status = EVN_OK;
	uint32_t restored = c->s->n_held;
	while ((c->done < c->total || c->s->n_remembered < c->s->n_text) && status == EVN_OK) {
		pthread_mutex_lock(&e->lock);
		status = advance(c, &restored, err);
		if (status != EVN_OK && status != EVN_ERR_CANCELLED)
			status = recover(c->s, status, err);
		if (status != EVN_OK)
			restored = evn_slot_truncate(&c->s->slot, &e->pool, restored);
		c->s->n_held = restored;
		pthread_mutex_unlock(&e->lock);
	}
	return status == EVN_ERR_CANCELLED
			   ? evn_fail(err, status, "the prompt was stopped at token %zu of %zu", c->done, c->total)
			   : status;
}

static void keep_logits(evn_session *s, const call *c)
{
	if (c->all_logits) {
		memcpy(s->logits, c->all_logits + (c->total - 1) * vocab_of(s), vocab_of(s) * sizeof *s->logits);
		return;
	}
	float *last = s->next_logits;
	s->next_logits = s->logits;
	s->logits = last;
}

evn_status evn_session_eval(evn_session *s, const int32_t *ids, size_t n, float *all_logits, evn_error *err)
{
	call c = {.s = s, .ids = ids, .total = n, .all_logits = all_logits};
	uint64_t began = evn_now_ns();
	EVN_TRY(check_call(s, ids, n, err));
	EVN_TRY(steps(&c, err));
	const evn_options *o = &s->e->options;
	if (n > 1 && o->progress)
		o->progress(o->progress_user, "prompt", n, n); /* this call cannot be ended any more */
	keep_logits(s, &c);
	memcpy(s->ids + s->position, ids, n * sizeof *ids);
	s->position += (uint32_t)n;
	s->n_held = s->position;
	s->has_logits = true;
	if (!s->begun)
		evn_log_took(began, "first %zu tokens computed", n);
	s->begun = true;
	return EVN_OK;
}

evn_status evn_session_encode(evn_session *s, const int32_t *ids, size_t n, evn_error *err)
{
	const evn_limits *l = &s->e->prepared.limits;
	const uint32_t most = l->n_batch < l->n_ctx ? l->n_batch : l->n_ctx;
	call c = {.s = s};
	if (!s->e->prepared.graph->n_encoder)
		return evn_fail(err, EVN_ERR_USAGE, "%s: the model has no encoder",
						evn_gguf_name(evn_model_gguf(s->e->model)));
	EVN_TRY(check_ids(s, ids, n, err));
	if (n > most)
		return evn_fail(err, EVN_ERR_LIMIT, "a text of %zu tokens for the encoder, which reads at most %u at once", n,
						most);
	EVN_TRY(evn_session_rewind(s, 0, err));
	memcpy(s->text, ids, n * sizeof *ids);
	s->n_text = (uint32_t)n;
	s->n_remembered = 0;
	const evn_status status = steps(&c, err);
	if (status != EVN_OK)
		s->n_text = 0;
	return status;
}

int32_t evn_engine_decoder_start(const evn_engine *e)
{
	return e->prepared.graph->n_encoder ? e->prepared.graph->decoder_start : -1;
}

/* ---- state ----------------------------------------------------------------------------------------------------- */

const float *evn_session_logits(const evn_session *s) { return s->has_logits ? s->logits : NULL; }
uint32_t evn_session_position(const evn_session *s) { return s->position; }

evn_status evn_session_rewind(evn_session *s, uint32_t position, evn_error *err)
{
	if (position > s->position)
		return evn_fail(err, EVN_ERR_USAGE, "rewind to %u: the session holds %u tokens", position, s->position);
	pthread_mutex_lock(&s->e->lock);
	if (position < s->n_held)
		s->n_held = evn_slot_truncate(&s->slot, &s->e->pool, position);
	pthread_mutex_unlock(&s->e->lock);
	s->position = position;
	s->has_logits = false;
	return EVN_OK;
}

evn_rank_stats evn_session_rank_stats(const evn_session *s, size_t rank)
{
	return evn_engine_rank_stats(s->e, (uint32_t)rank, s->before[rank], s->bytes_read[rank]);
}
