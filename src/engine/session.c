/* session.c - one token timeline: position, KV cache on every rank, the last logits. */
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"

struct evn_session {
	evn_engine *e;
	evn_kv *kv[EVN_MAX_RANKS];
	uint32_t position;
	bool has_logits, begun; /* begun: its first tokens are computed */
	uint32_t waiting_steps; /* in a row in which every rank waited longer than it worked */
	float *logits;          /* (vocab) */
	float *embeddings;      /* (n_batch, stride), and a row to work in */
	uint32_t stride;
	evn_comm_times before[EVN_MAX_RANKS]; /* the communicator's counts when the session began */
	uint64_t bytes_read[EVN_MAX_RANKS];
};

static evn_status make_kv(void *arg, uint32_t rank, evn_error *err)
{
	evn_session *s = arg;
	return evn_kv_create(&s->kv[rank], s->e->ranks[rank].decoder, err);
}

static evn_status create(evn_session *s, evn_error *err)
{
	const evn_hparams *h = evn_model_hparams(s->e->model);
	s->stride = (uint32_t)evn_round_up(h->dim, EVN_PAD);
	uint64_t floats = (uint64_t)s->stride * (s->e->prepared.limits.n_batch + 1u);
	s->logits = malloc(h->vocab * sizeof *s->logits);
	s->embeddings = calloc(floats, sizeof *s->embeddings);
	if (!s->logits || !s->embeddings)
		return evn_fail_memory(err, "session", (floats + h->vocab) * sizeof(float));
	for (uint32_t i = 0; i < s->e->n_ranks; i++)
		s->before[i] = evn_comm_rank_times(s->e->comm, i);
	uint64_t began = evn_now_ns();
	EVN_TRY(evn_team_run(s->e->team, make_kv, s, NULL, NULL, err));
	evn_log_took(began, "KV cache of %u tokens", s->e->prepared.limits.n_ctx);
	return EVN_OK;
}

evn_status evn_session_create(evn_session **out, evn_engine *e, evn_error *err)
{
	*out = NULL;
	evn_session *s = calloc(1, sizeof *s);
	if (!s)
		return evn_fail_memory(err, "session", sizeof *s);
	s->e = e;
	evn_status status = create(s, err);
	if (status != EVN_OK) {
		evn_session_free(s);
		return status;
	}
	*out = s;
	return EVN_OK;
}

void evn_session_free(evn_session *s)
{
	if (!s)
		return;
	for (uint32_t i = 0; i < s->e->n_ranks; i++)
		evn_kv_free(s->kv[i]);
	free(s->logits);
	free(s->embeddings);
	free(s);
}

typedef struct {
	evn_session *s;
	evn_step step;
	size_t done, total; /* tokens of the call before this step, and in all */
	bool stopped;       /* by the caller */
} stepping;

/* A caller's progress function is asked while a prompt is computed, and may end it between two layers. */
static void ask_caller(void *arg)
{
	stepping *st = arg;
	const evn_options *o = &st->s->e->options;
	if (st->total > 1 && o->progress && !st->stopped &&
		!o->progress(o->progress_user, "prompt", st->done, st->total)) {
		st->stopped = true;
		evn_comm_cancel(st->s->e->comm);
	}
}

static evn_status run_step(void *arg, uint32_t rank, evn_error *err)
{
	const stepping *st = arg;
	evn_engine *e = st->s->e;
	return evn_decoder_step(e->ranks[rank].decoder, st->s->kv[rank], e->comm, &st->step, err);
}

static evn_status check_call(const evn_session *s, const int32_t *ids, size_t n, evn_error *err)
{
	uint32_t vocab = evn_model_hparams(s->e->model)->vocab, n_ctx = s->e->prepared.limits.n_ctx;
	if (n == 0)
		return evn_fail(err, EVN_ERR_USAGE, "no tokens to compute");
	if (n > n_ctx - s->position)
		return evn_fail(err, EVN_ERR_LIMIT, "context: %u tokens are held and %zu more do not fit into %u",
						s->position, n, n_ctx);
	for (size_t i = 0; i < n; i++)
		if (ids[i] < 0 || (uint32_t)ids[i] >= vocab)
			return evn_fail(err, EVN_ERR_USAGE, "token id %d: the vocabulary has 0 to %u", ids[i], vocab - 1);
	return EVN_OK;
}

/* On a machine that is busy with other work, ranks that spin for each other lose whole time slices. When even the
 * rank that waits least waits longer than it works, for several steps running, they meet another way: the bits are
 * the same. */
static void watch_meetings(evn_session *s, const evn_comm_times *before)
{
	enum { PATIENCE_STEPS = 8 };
	bool all_wait = s->e->n_ranks > 1;
	for (uint32_t i = 0; i < s->e->n_ranks; i++) {
		evn_comm_times now = evn_comm_rank_times(s->e->comm, i);
		all_wait &= now.wait_ns - before[i].wait_ns > now.busy_ns - before[i].busy_ns;
	}
	s->waiting_steps = all_wait ? s->waiting_steps + 1 : 0;
	if (s->waiting_steps >= PATIENCE_STEPS)
		evn_comm_fall_back(s->e->comm);
}

/* A step leaves nothing behind that its repetition does not overwrite: where meeting by flags failed, it is run again
 * another way. */
static evn_status run_on_ranks(evn_session *s, stepping *st, evn_error *err)
{
	evn_error why = {0};
	evn_comm_times before[EVN_MAX_RANKS];
	for (uint32_t i = 0; i < s->e->n_ranks; i++)
		before[i] = evn_comm_rank_times(s->e->comm, i);
	evn_status status = evn_team_run(s->e->team, run_step, st, ask_caller, st, &why);
	if (status != EVN_OK) {
		evn_comm_reset(s->e->comm);
		if (!st->stopped && evn_comm_fall_back(s->e->comm)) {
			evn_log(EVN_LOG_WARN, "%s; the step is computed again", why.text);
			status = evn_team_run(s->e->team, run_step, st, ask_caller, st, &why);
			if (status != EVN_OK)
				evn_comm_reset(s->e->comm);
		}
	}
	if (status == EVN_OK)
		watch_meetings(s, before);
	else if (err)
		*err = why;
	return status;
}

/* The tokens of st->step from ids; the step's embeddings are looked up here. */
static evn_status step(stepping *st, const int32_t *ids, evn_error *err)
{
	evn_session *s = st->s;
	float *scratch = s->embeddings + (uint64_t)s->stride * s->e->prepared.limits.n_batch;
	evn_embed(&s->e->embedding, ids, st->step.n_tok, st->step.position, s->embeddings, s->stride, scratch);
	st->step.embeddings = s->embeddings;
	ask_caller(st);
	evn_status status = st->stopped ? EVN_ERR_CANCELLED : run_on_ranks(s, st, err);
	if (st->stopped) {
		evn_comm_reset(s->e->comm);
		return evn_fail(err, EVN_ERR_CANCELLED, "the prompt was stopped at token %zu of %zu", st->done, st->total);
	}
	for (uint32_t i = 0; i < s->e->n_ranks; i++)
		s->bytes_read[i] += evn_decoder_weight_bytes(s->e->ranks[i].decoder, st->step.n_tok);
	return status;
}

evn_status evn_session_eval(evn_session *s, const int32_t *ids, size_t n, float *all_logits, evn_error *err)
{
	EVN_TRY(check_call(s, ids, n, err));
	uint32_t vocab = evn_model_hparams(s->e->model)->vocab, batch = s->e->prepared.limits.n_batch;
	stepping st = {.s = s, .total = n};
	uint64_t began = evn_now_ns();
	for (; st.done < n; st.done += st.step.n_tok) {
		uint32_t chunk = n - st.done < batch ? (uint32_t)(n - st.done) : batch;
		st.step = (evn_step){.n_tok = chunk,
							 .position = s->position + (uint32_t)st.done,
							 .n_logits = all_logits ? chunk : st.done + chunk == n,
							 .logits = all_logits ? all_logits + st.done * vocab : s->logits};
		EVN_TRY(step(&st, ids + st.done, err));
	}
	const evn_options *o = &s->e->options;
	if (n > 1 && o->progress)
		o->progress(o->progress_user, "prompt", n, n); /* too late to stop */
	if (all_logits)
		memcpy(s->logits, all_logits + (n - 1) * vocab, vocab * sizeof *s->logits);
	s->position += (uint32_t)n;
	s->has_logits = true;
	if (!s->begun)
		evn_log_took(began, "first %zu tokens computed", n);
	s->begun = true;
	return EVN_OK;
}

const float *evn_session_logits(const evn_session *s) { return s->has_logits ? s->logits : NULL; }
uint32_t evn_session_position(const evn_session *s) { return s->position; }

evn_status evn_session_rewind(evn_session *s, uint32_t position, evn_error *err)
{
	if (position > s->position)
		return evn_fail(err, EVN_ERR_USAGE, "rewind to %u: the session holds %u tokens", position, s->position);
	s->position = position;
	s->has_logits = false;
	return EVN_OK;
}

evn_rank_stats evn_session_rank_stats(const evn_session *s, size_t rank)
{
	evn_comm_times now = evn_comm_rank_times(s->e->comm, (uint32_t)rank);
	double busy = (double)(now.busy_ns - s->before[rank].busy_ns) * 1e-9;
	double wait = (double)(now.wait_ns - s->before[rank].wait_ns) * 1e-9;
	return (evn_rank_stats){
		.busy_s = busy, .wait_s = wait, .gbs = busy > 0 ? (double)s->bytes_read[rank] * 1e-9 / busy : 0};
}
