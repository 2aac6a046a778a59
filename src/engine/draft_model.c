#include "engine/draft_model.h"

#include <stdlib.h>
#include <string.h>

#define CLASSES 5u   /* of distances between the two largest logits: below 0.5, 1, 2, 4, and more */
#define MEMORY 0.97f /* what an observation counts after the next one */
#define PRIOR 0.7f   /* the chance of a guess before any was verified */
#define PRIOR_COUNTS 4.0f
#define FORGET 0.995f /* what observations count after a step without new ones */
#define FEW_ROWS 8u   /* so many unread ids are read as decoded rows, more as a prompt */
#define WIDER 4u      /* times more of the text */
#define LEFT 32u      /* a text with less room before the end of the context is read anew */

static const float bounds[CLASSES - 1] = {0.5f, 1, 2, 4}, priors[CLASSES] = {0.35f, 0.5f, 0.65f, 0.8f, 0.95f};

typedef struct {
	float right, seen;
} tally;

struct evn_draft_model {
	evn_engine *e;
	evn_draft_cost cost;
	tally classes[CLASSES], all;
	uint32_t n_ctx, n_batch, vocab, stride, max_texts;
	float *x, *scratch; /* (n_batch, stride), (stride) */
	evn_span *spans;    /* (n_batch) */
	uint32_t *out_rows; /* (max_texts) */
	float *logits;      /* (max_texts, vocab) */
	bool dead;
};

/* ---- beginning and end ----------------------------------------------------------------------------------------- */

static evn_status make_buffers(evn_draft_model *d, evn_error *err)
{
	d->x = calloc((uint64_t)d->n_batch * d->stride, sizeof *d->x);
	d->scratch = malloc(d->stride * sizeof *d->scratch);
	d->spans = malloc(d->n_batch * sizeof *d->spans);
	d->out_rows = malloc(d->max_texts * sizeof *d->out_rows);
	d->logits = malloc((uint64_t)d->max_texts * d->vocab * sizeof *d->logits);
	return d->x && d->scratch && d->spans && d->out_rows && d->logits
			   ? EVN_OK
			   : evn_fail_memory(err, "draft model", (uint64_t)d->max_texts * d->vocab * sizeof *d->logits);
}

static double part(double of, double by) { return of > 0 && by > 0 ? of / by : 1; }

evn_status evn_draft_model_create(evn_draft_model **out, evn_engine *e, const evn_engine *of, evn_error *err)
{
	evn_draft_model *d = *out = calloc(1, sizeof *d);
	if (!d)
		return evn_fail_memory(err, "draft model", sizeof *d);
	const evn_hparams *h = evn_model_hparams(e->model);
	const evn_plan_info *own = evn_engine_plan(e), *other = evn_engine_plan(of);
	d->e = e;
	d->n_ctx = e->prepared.limits.n_ctx;
	d->n_batch = e->prepared.limits.n_batch;
	d->vocab = h->vocab;
	d->stride = d->e->embedding.stride;
	d->max_texts = d->n_batch < EVN_SPECULATE_ROWS ? d->n_batch : EVN_SPECULATE_ROWS;
	d->cost.predicted = part(other->decode_tok_s, own->decode_tok_s);
	d->cost.predicted_read = part(other->decode_tok_s, own->prefill_tok_s);
	const evn_status status = make_buffers(d, err);
	if (status == EVN_OK)
		return EVN_OK;
	evn_draft_model_free(d);
	*out = NULL;
	return status;
}

void evn_draft_model_free(evn_draft_model *d)
{
	if (!d)
		return;
	free(d->x);
	free(d->scratch);
	free(d->spans);
	free(d->out_rows);
	free(d->logits);
	free(d);
}

void evn_draft_text_free(evn_draft_model *d, evn_draft_text *t)
{
	if (t->slot.room) {
		pthread_mutex_lock(&d->e->lock);
		evn_slot_free(&t->slot, &d->e->pool);
		pthread_mutex_unlock(&d->e->lock);
	}
	free(t->ids);
	*t = (evn_draft_text){0};
}

/* ---- how often guesses are right ------------------------------------------------------------------------------- */

static float chance_of(const tally *t, float prior)
{
	return (t->right + PRIOR_COUNTS * prior) / (t->seen + PRIOR_COUNTS);
}

static void note(tally *t, bool right)
{
	t->right = MEMORY * t->right + (right ? 1.0f : 0.0f);
	t->seen = MEMORY * t->seen + 1;
}

void evn_draft_model_learn(evn_draft_model *d, uint8_t class, bool right)
{
	note(&d->classes[class], right);
	note(&d->all, right);
}

double evn_draft_model_chance(evn_draft_model *d)
{
	d->all.right *= FORGET;
	d->all.seen *= FORGET;
	return (double)chance_of(&d->all, PRIOR);
}

evn_draft_cost *evn_draft_model_cost(evn_draft_model *d) { return &d->cost; }

static uint8_t class_of(float distance)
{
	uint8_t c = 0;
	while (c < CLASSES - 1 && distance >= bounds[c])
		c++;
	return c;
}

static int32_t find_largest(const float *logits, uint32_t n, float *distance)
{
	uint32_t best = 0;
	float second = -1e30f;
	for (uint32_t i = 1; i < n; i++) {
		if (logits[i] > logits[best]) {
			second = logits[best];
			best = i;
		} else if (logits[i] > second)
			second = logits[i];
	}
	*distance = logits[best] - second;
	return (int32_t)best;
}

/* ---- texts and the cache --------------------------------------------------------------------------------------- */

/* How many ids of the cache are still those of the text. The row of the last id is always computed. */
static uint32_t kept(const evn_draft_model *d, const evn_draft_ask *a)
{
	const evn_draft_text *t = a->text;
	uint32_t n = 0;
	if (!t->ids || t->n_recoveries != d->e->n_recoveries || t->from >= a->n_ids)
		return 0;
	const uint32_t most = a->n_ids - t->from - 1;
	while (n < t->n && n < most && t->ids[n] == a->ids[t->from + n])
		n++;
	return a->n_ids - t->from + LEFT <= d->n_ctx ? n : 0;
}

static uint32_t least(uint32_t a, uint32_t b) { return a < b ? a : b; }

/* Where in the text the cache is to begin. *n: how many ids of it stay. It begins anew where that is less to read,
 * and where much more of the text may be read than before. */
static uint32_t begin_of(const evn_draft_model *d, const evn_draft_ask *a, uint32_t window, uint32_t *n)
{
	const evn_draft_text *t = a->text;
	const uint32_t new = least(least(a->n_ids, window), d->n_ctx - LEFT), from = a->n_ids - new;
	*n = kept(d, a);
	if (*n && a->n_ids - t->from - *n <= new && (t->from <= from || new / WIDER < a->n_ids - t->from))
		return t->from;
	*n = 0;
	return from;
}

uint32_t evn_draft_model_unread(const evn_draft_model *d, const evn_draft_ask *a, uint32_t window)
{
	uint32_t n;
	const uint32_t from = begin_of(d, a, window, &n);
	return a->n_ids - from - n;
}

/* Brings the cache to a beginning of what is to be read. False if there is no room for the text and its guesses. */
static bool settle_text(evn_draft_model *d, const evn_draft_ask *a, uint32_t window)
{
	evn_draft_text *t = a->text;
	uint32_t n;
	const uint32_t from = begin_of(d, a, window, &n), n_positions = a->n_ids - from + a->most;
	if (!t->ids && !(t->ids = malloc(d->n_ctx * sizeof *t->ids)))
		return false;
	t->from = from;
	t->n_recoveries = d->e->n_recoveries;
	t->n = evn_slot_truncate(&t->slot, &d->e->pool, n);
	return n_positions <= d->n_ctx && evn_slot_extend(&t->slot, &d->e->pool, n_positions, NULL) == EVN_OK;
}

/* ---- steps ----------------------------------------------------------------------------------------------------- */

/* Adds rows of the text's next n ids to the batch. A prompt is one span. */
static evn_status add_rows(evn_draft_model *d, const evn_draft_ask *a, uint32_t n, evn_phase phase, evn_batch *b,
						   evn_error *err)
{
	evn_draft_text *t = a->text;
	const uint32_t in_span = phase == EVN_PROMPT ? n : 1;
	EVN_TRY(evn_embed(&d->e->embedding, a->ids + t->from + t->n, n, t->n, d->x + (uint64_t)b->n_rows * d->stride,
					  d->stride, d->scratch, err));
	for (uint32_t i = 0; i < n; i += in_span) {
		d->spans[b->n_spans++] = (evn_span){
			.slot = &t->slot, .first_row = b->n_rows, .n_rows = in_span, .position = t->n + i, .phase = phase};
		b->n_rows += in_span;
	}
	memcpy(t->ids + t->n, a->ids + t->from + t->n, n * sizeof *t->ids);
	return EVN_OK;
}

static evn_batch empty_batch(const evn_draft_model *d)
{
	return (evn_batch){.spans = d->spans, .x = d->x, .out_rows = d->out_rows, .out = d->logits};
}

/* Reads the text but for its last id. */
static evn_status read_text(evn_draft_model *d, const evn_draft_ask *a, evn_error *err)
{
	evn_draft_text *t = a->text;
	for (uint32_t left; (left = a->n_ids - t->from - t->n) > FEW_ROWS;) {
		const uint32_t n = least(left - 1, d->n_batch);
		const double began = evn_now_s();
		evn_batch b = empty_batch(d);
		EVN_TRY(add_rows(d, a, n, EVN_PROMPT, &b, err));
		EVN_TRY(evn_engine_step(d->e, &b, NULL, err));
		t->n += n;
		evn_draft_cost_read(&d->cost, n, evn_now_s() - began);
	}
	return EVN_OK;
}

/* The rows of the texts that get another guess; of a text that has none yet, all that is unread. */
static evn_status fill_step(evn_draft_model *d, evn_draft_ask **going, uint32_t n, evn_batch *b, evn_error *err)
{
	*b = empty_batch(d);
	for (uint32_t i = 0; i < n; i++) {
		const evn_draft_ask *a = going[i];
		EVN_TRY(add_rows(d, a, a->n_ids + a->draft->n - a->text->from - a->text->n, EVN_DECODE, b, err));
		d->out_rows[b->n_out++] = b->n_rows - 1;
	}
	return EVN_OK;
}

/* Appends the guess that the logits give. False if the text gets no more. */
static bool append_guess(evn_draft_model *d, evn_draft_ask *a, const float *logits, float at_least)
{
	float distance;
	evn_draft *g = a->draft;
	a->text->n = a->n_ids + g->n - a->text->from;
	a->ids[a->n_ids + g->n] = find_largest(logits, d->vocab, &distance);
	const uint8_t class = class_of(distance);
	const float before = g->n ? g->chances[g->n - 1] : 1;
	a->classes[g->n] = class;
	g->chances[g->n] = before * chance_of(&d->classes[class], priors[class]);
	g->n++;
	return g->n < a->most && g->chances[g->n - 1] >= at_least;
}

static evn_status guess_steps(evn_draft_model *d, evn_draft_ask **going, uint32_t n, float at_least, evn_error *err)
{
	while (n) {
		evn_batch b;
		uint32_t left = 0;
		const double began = evn_now_s();
		EVN_TRY(fill_step(d, going, n, &b, err));
		EVN_TRY(evn_engine_step(d->e, &b, NULL, err));
		for (uint32_t i = 0; i < n; i++)
			if (append_guess(d, going[i], d->logits + (uint64_t)i * d->vocab, at_least))
				going[left++] = going[i];
		evn_draft_cost_step(&d->cost, b.n_rows, evn_now_s() - began);
		n = left;
	}
	return EVN_OK;
}

static evn_status guess(evn_draft_model *d, evn_draft_ask *asks, uint32_t n, uint32_t window, float at_least,
						evn_error *err)
{
	evn_draft_ask *going[EVN_SPECULATE_ROWS];
	uint32_t n_going = 0, n_rows = 0;
	for (uint32_t i = 0; i < n; i++) {
		evn_draft_ask *a = &asks[i];
		a->draft->n = 0;
		if (!a->most || n_going == d->max_texts || n_rows + FEW_ROWS > d->n_batch || !settle_text(d, a, window))
			continue;
		EVN_TRY(read_text(d, a, err));
		n_rows += a->n_ids - a->text->from - a->text->n;
		going[n_going++] = a;
	}
	return guess_steps(d, going, n_going, at_least, err);
}

/* A device hangs, which may come back to the buffers: they stay. */
static bool recover(evn_draft_model *d, uint32_t n_abandoned, evn_error *err)
{
	if (!evn_engine_recover(d->e, err))
		return false;
	return d->e->n_abandoned == n_abandoned || make_buffers(d, err) == EVN_OK;
}

bool evn_draft_model_guess(evn_draft_model *d, evn_draft_ask *asks, uint32_t n, uint32_t window, float at_least,
						   evn_error *err)
{
	if (d->dead)
		return true;
	pthread_mutex_lock(&d->e->lock);
	const uint32_t n_abandoned = d->e->n_abandoned;
	const evn_status status = guess(d, asks, n, window, at_least, err);
	if (status != EVN_OK) {
		for (uint32_t i = 0; i < n; i++)
			asks[i].draft->n = 0;
		d->dead = !recover(d, n_abandoned, err);
	}
	pthread_mutex_unlock(&d->e->lock);
	return !d->dead;
}
