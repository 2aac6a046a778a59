#include "engine/steps.h"

#include <math.h>
#include <stdlib.h>

#include "engine/team.h"

#define WEIGHT_BYTES                                                                                                 \
	((uint64_t)256 << 20) /* layers to go through, all ranks together: more than servers' caches hold */
#define PROMPT_TOKENS 128u
#define CONTEXT (2 * PROMPT_TOKENS)
#define SLOW_S 0.5          /* a token that takes so long is not waited for again and again */
#define WINDOW_NS 400000000 /* a figure is the median of the steps of so long */
#define MIN_PASSES 5u
#define MAX_PASSES 64u

typedef struct {
	evn_decoder *decoder;
	evn_kv *kv;
	evn_group *group; /* its own, or the one of all */
	double ns;        /* of the steps timed last */
} walker;

struct evn_steps {
	const evn_model *model;
	evn_queue *queues[EVN_MAX_RANKS];
	evn_step_rank as[EVN_MAX_RANKS];
	uint32_t n;
	evn_plan_shape shape;
	evn_decoder_limits limits;
	evn_split split; /* of a few layers */
	float *embeddings, *logits;
	evn_team *team;
	evn_group *group; /* of all, while they meet */
	walker walkers[EVN_MAX_RANKS];
	evn_plan_candidate ranks[EVN_MAX_RANKS]; /* the rates measured */
	/* what the team does */
	evn_split one[EVN_MAX_RANKS]; /* a rank's ranges as if it were alone */
	evn_step step;
	uint32_t passes; /* 0: as many as the window holds */
};

static void give_up(void *arg)
{
	evn_steps *s = arg;
	if (s->group)
		evn_group_give_up(s->group);
}

/* ---- building -----------------------------------------------------------------------------------------------------
 */

static evn_status cut_layers(evn_steps *s, evn_error *err)
{
	uint64_t memory[EVN_MAX_RANKS];
	double gbs[EVN_MAX_RANKS], slowest_s = 0;
	for (uint32_t i = 0; i < s->n; i++) {
		gbs[i] = s->as[i].gbs;
		memory[i] = UINT64_MAX;
	}
	EVN_TRY(evn_split_make(&s->split, &s->shape, s->n, gbs, memory, err));
	double all = 0;
	for (uint32_t i = 0; i < s->n; i++)
		all += evn_split_work(&s->shape, &s->split, i).bytes / s->shape.n_layers;
	uint32_t n_layers = (uint32_t)fmin(s->shape.n_layers, ceil((double)WEIGHT_BYTES / fmax(all, 1)));
	s->limits.n_layers = s->split.n_layers = n_layers;
	for (uint32_t i = 0; i < s->n; i++)
		slowest_s = fmax(slowest_s, evn_split_work(&s->shape, &s->split, i).bytes / (gbs[i] * 1e9));
	return slowest_s < SLOW_S
			   ? EVN_OK
			   : evn_fail(err, EVN_ERR_UNSUPPORTED, "steps of %.1f s are too slow to be measured", slowest_s);
}

static evn_status create(evn_steps *s, evn_error *err)
{
	const evn_hparams *h;
	EVN_TRY(evn_model_require_hparams(s->model, &h, err));
	if (h->n_layers == 0)
		return evn_fail(err, EVN_ERR_UNSUPPORTED, "a model without layers takes no steps through them");
	s->limits = (evn_decoder_limits){.n_ctx = CONTEXT < h->n_ctx_train ? CONTEXT : h->n_ctx_train};
	s->limits.n_batch = s->limits.n_ctx / 2;
	if (s->limits.n_batch < 2)
		return evn_fail(err, EVN_ERR_UNSUPPORTED, "a context of %u tokens is too short", h->n_ctx_train);
	EVN_TRY(evn_decoder_shape(s->model, s->limits, &s->shape, err));
	EVN_TRY(cut_layers(s, err));
	uint64_t n_floats = evn_round_up(h->dim, EVN_PAD) * s->limits.n_batch;
	s->embeddings = calloc(n_floats, sizeof *s->embeddings);
	s->logits = malloc(h->vocab * sizeof *s->logits);
	if (!s->embeddings || !s->logits)
		return evn_fail_memory(err, "steps", (n_floats + h->vocab) * sizeof(float));
	for (uint64_t i = 0; i < n_floats; i++) /* padding must stay 0 */
		s->embeddings[i] = i % evn_round_up(h->dim, EVN_PAD) < h->dim ? 0.01f * (float)(i % 17) - 0.08f : 0;
	return evn_team_create(&s->team, s->n, give_up, s, err);
}

evn_status evn_steps_create(evn_steps **out, const evn_model *m, const evn_step_rank *ranks, uint32_t n,
							evn_error *err)
{
	evn_steps *s = *out = calloc(1, sizeof *s);
	if (!s)
		return evn_fail_memory(err, "steps", sizeof *s);
	s->model = m;
	s->n = n;
	for (uint32_t i = 0; i < n; i++) {
		s->as[i] = ranks[i];
		s->queues[i] = ranks[i].queue;
	}
	return create(s, err);
}

static void unload(evn_steps *s)
{
	for (uint32_t i = 0; i < s->n; i++) {
		walker *w = &s->walkers[i];
		evn_kv_free(w->kv);
		evn_decoder_free(w->decoder);
		if (w->group != s->group)
			evn_group_free(w->group);
		*w = (walker){0};
		evn_split_free(&s->one[i]);
	}
	evn_group_free(s->group);
	s->group = NULL;
}

void evn_steps_free(evn_steps *s)
{
	if (!s)
		return;
	evn_team_free(s->team);
	unload(s);
	evn_split_free(&s->split);
	free(s->embeddings);
	free(s->logits);
	free(s);
}

static evn_status load(void *arg, uint32_t rank, evn_error *err)
{
	evn_steps *s = arg;
	walker *w = &s->walkers[rank];
	bool alone = s->one[rank].n_ranks == 1;
	evn_decoder_limits limits = s->limits;
	limits.dot = s->as[rank].dot;
	EVN_TRY(evn_decoder_load(&w->decoder, s->queues[rank], s->model, alone ? &s->one[rank] : &s->split,
							 alone ? 0 : rank, limits, NULL, err));
	evn_ops_set_gemm_from(evn_decoder_ops(w->decoder), s->as[rank].gemm_from);
	return evn_kv_create(&w->kv, w->decoder, err);
}

/* The first part of a range, in whole grains, at least one. */
static evn_range first_part(evn_range r, uint32_t divisor, uint32_t grain)
{
	uint32_t len = (uint32_t)evn_round_up(evn_range_len(r) / divisor, grain);
	len = len ? len : grain;
	return (evn_range){r.begin, len < evn_range_len(r) ? r.begin + len : r.end};
}

/* The rank's part, or 1 / divisor of it, as the split of one rank. */
static evn_status split_alone(evn_steps *s, uint32_t rank, uint32_t divisor, evn_error *err)
{
	evn_split *one = &s->one[rank];
	*one = (evn_split){.n_ranks = 1, .n_layers = s->split.n_layers};
	one->layers = calloc(one->n_layers, sizeof *one->layers);
	if (!one->layers)
		return evn_fail_memory(err, "split", one->n_layers * sizeof *one->layers);
	for (uint32_t i = 0; i < one->n_layers; i++) {
		const evn_layer_split *l = &s->split.layers[(size_t)i * s->n + rank];
		one->layers[i] = divisor == 1 ? *l
									  : (evn_layer_split){.heads = first_part(l->heads, divisor, 1),
														  .ff = first_part(l->ff, divisor, s->shape.ff_grain)};
	}
	if (divisor == 1)
		one->vocab[0] = s->split.vocab[rank];
	return EVN_OK;
}

static uint64_t message_floats(const evn_steps *s) { return evn_decoder_message_floats(s->model, s->limits); }

static evn_status load_alone(evn_steps *s, uint32_t divisor, evn_error *err)
{
	for (uint32_t i = 0; i < s->n; i++) {
		EVN_TRY(split_alone(s, i, divisor, err));
		EVN_TRY(evn_group_create(&s->walkers[i].group, &s->queues[i], 1, EVN_REDUCE_AUTO, message_floats(s), err));
	}
	return evn_team_run(s->team, load, s, NULL, NULL, err);
}

/* ---- timing -------------------------------------------------------------------------------------------------------
 */

static evn_status take_steps(void *arg, uint32_t rank, evn_error *err)
{
	evn_steps *s = arg;
	walker *w = &s->walkers[rank];
	double ns[MAX_PASSES];
	uint32_t n = 0, least = s->passes ? s->passes : MIN_PASSES;
	EVN_TRY(evn_decoder_step(w->decoder, w->kv, w->group, &s->step, err)); /* kernels are built */
	uint64_t began = evn_now_ns(), last = began, now = began;
	while (n < least || (!s->passes && n < MAX_PASSES && now - began < WINDOW_NS)) {
		EVN_TRY(evn_decoder_step(w->decoder, w->kv, w->group, &s->step, err));
		now = evn_now_ns();
		ns[n++] = (double)(now - last);
		last = now;
	}
	w->ns = evn_median(ns, n);
	return EVN_OK;
}

/* Of every rank; ns[n]. */
static evn_status time_steps(evn_steps *s, uint32_t n_tok, uint32_t position, bool logits, double *ns, evn_error *err)
{
	s->step = (evn_step){
		.embeddings = s->embeddings, .n_tok = n_tok, .position = position, .n_logits = logits, .logits = s->logits};
	EVN_TRY(evn_team_run(s->team, take_steps, s, NULL, NULL, err));
	for (uint32_t i = 0; i < s->n; i++)
		ns[i] = s->walkers[i].ns;
	return EVN_OK;
}

/* ---- rates --------------------------------------------------------------------------------------------------------
 */

typedef struct {
	double token, token_late, token_logits; /* at position 0, at the context's end, at 0 with logits */
	double prompt, prompt_late;             /* at position 0, behind a first one */
} durations;                                /* ns */

/* T = besides + amount / rate, from the times of a large and a small amount. */
static void fit(double large, double small, double large_ns, double small_ns, double *per_ns, double *besides_ns)
{
	double slope = large > small ? (large_ns - small_ns) / (large - small) : 0;
	*besides_ns = large_ns - slope * large;
	if (slope <= 0 || *besides_ns < 0) {
		*besides_ns = 0;
		slope = large_ns / large;
	}
	*per_ns = 1 / slope;
}

static void work_out(const evn_steps *s, uint32_t rank, const evn_work *small, const durations *d,
					 const durations *d_small, evn_rates *r)
{
	evn_work all = evn_split_work(&s->shape, &s->split, rank);
	double n = s->limits.n_batch, layers = s->split.n_layers, besides;
	*r = (evn_rates){0};
	if (all.bytes <= 0)
		return;
	if (all.heads > 0) {
		r->key_ns = fmax(0, d->token_late - d->token) / (all.heads * (s->limits.n_ctx - 1));
		r->prompt_key_ns = fmax(0, d->prompt_late - d->prompt) / (all.heads * n * n);
	}
	fit(all.bytes, small->bytes, d->token, d_small->token, &r->gemv_gbs, &besides);
	r->layer_us = besides / layers * 1e-3;
	double keys = n * n / 2 * r->prompt_key_ns;
	fit(all.macs * n, small->macs * n, fmax(d->prompt - all.heads * keys, d->prompt / 2),
		fmax(d_small->prompt - small->heads * keys, d_small->prompt / 2), &r->gemm_gflops, &besides);
	r->gemm_gflops *= 2;
	r->token_us = besides / layers / n * 1e-3;
	r->vocab_gbs = all.vocab_bytes / fmax(d->token_logits - d->token, d->token / 100);
}

evn_status evn_steps_measure(evn_steps *s, evn_rates *rates, evn_error *err)
{
	uint32_t n = s->limits.n_batch, last = s->limits.n_ctx - 1;
	double ns[7][EVN_MAX_RANKS];
	evn_work small[EVN_MAX_RANKS];
	EVN_TRY(load_alone(s, 1, err));
	EVN_TRY(time_steps(s, n, 0, false, ns[0], err)); /* prompts first: they fill the caches */
	EVN_TRY(time_steps(s, n, n, false, ns[1], err));
	EVN_TRY(time_steps(s, 1, 0, false, ns[2], err));
	EVN_TRY(time_steps(s, 1, last, false, ns[3], err));
	EVN_TRY(time_steps(s, 1, 0, true, ns[4], err));
	unload(s);
	EVN_TRY(load_alone(s, 4, err));
	EVN_TRY(time_steps(s, n, 0, false, ns[5], err));
	EVN_TRY(time_steps(s, 1, 0, false, ns[6], err));
	for (uint32_t i = 0; i < s->n; i++)
		small[i] = evn_split_work(&s->shape, &s->one[i], 0);
	unload(s);
	for (uint32_t i = 0; i < s->n; i++) {
		durations d = {.prompt = ns[0][i],
					   .prompt_late = ns[1][i],
					   .token = ns[2][i],
					   .token_late = ns[3][i],
					   .token_logits = ns[4][i]};
		durations d_small = {.prompt = ns[5][i], .token = ns[6][i]};
		work_out(s, i, &small[i], &d, &d_small, &s->ranks[i].rates);
		rates[i] = s->ranks[i].rates;
	}
	return EVN_OK;
}

/* ---- meetings -----------------------------------------------------------------------------------------------------
 */

/* Longer than the ranks' own work, per meeting; a meeting is never for nothing. */
static evn_status time_meeting(evn_steps *s, uint32_t n_tok, double *us, evn_error *err)
{
	double ns[EVN_MAX_RANKS];
	double own_s = evn_predict_layers_s(&s->shape, &s->split, s->ranks, n_tok, 0, (evn_meeting){0});
	s->passes = (uint32_t)fmin(MAX_PASSES, fmax(MIN_PASSES, WINDOW_NS * 1e-9 / own_s));
	EVN_TRY(time_steps(s, n_tok, 0, false, ns, err));
	*us = fmax((ns[0] * 1e-3 - own_s * 1e6) / (2.0 * s->split.n_layers), 0.1);
	return EVN_OK;
}

evn_status evn_steps_measure_meetings(evn_steps *s, evn_reduce way, evn_meeting *out, evn_error *err)
{
	EVN_TRY(evn_group_create(&s->group, s->queues, s->n, way, message_floats(s), err));
	for (uint32_t i = 0; i < s->n; i++)
		s->walkers[i].group = s->group;
	evn_status status = evn_team_run(s->team, load, s, NULL, NULL, err);
	if (status == EVN_OK)
		status = time_meeting(s, s->limits.n_batch, &out->prompt_us, err);
	if (status == EVN_OK)
		status = time_meeting(s, 1, &out->token_us, err);
	out->prompt_us *= (double)EVN_PLAN_PROMPT / s->limits.n_batch;
	s->passes = 0;
	unload(s);
	return status;
}
