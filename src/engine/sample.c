/* sample.c - draws the next token from the logits: repeat penalty, top-k, top-p, min-p, temperature, then the
 * draw. */
#include <math.h>
#include <stdlib.h>
#include <time.h>

#include "base/base.h"

typedef struct {
	int32_t id;
	float logit;
} candidate;

struct evn_sampler {
	evn_sample_options o;
	uint32_t vocab;
	bool *banned; /* (vocab) */
	evn_random random;
	candidate *candidates;
	float *probabilities;
	int32_t *recent; /* ring buffer of the last accepted ids */
	uint32_t n_recent, next_recent;
};

evn_sample_options evn_sample_defaults(void)
{
	return (evn_sample_options){.temp = 0.8f,
								.top_k = 40,
								.top_p = 0.95f,
								.min_p = 0.05f,
								.repeat_penalty = 1.0f,
								.repeat_last_n = 64,
								.seed = -1};
}

static evn_status check(const evn_sample_options *o, evn_error *err)
{
	if (!(o->temp >= 0) || isinf(o->temp))
		return evn_fail(err, EVN_ERR_USAGE, "temp: %g is not a finite number >= 0", (double)o->temp);
	if (o->top_k < 0)
		return evn_fail(err, EVN_ERR_USAGE, "top_k: %d is below 0 (0 = off)", o->top_k);
	if (!(o->top_p > 0 && o->top_p <= 1))
		return evn_fail(err, EVN_ERR_USAGE, "top_p: %g is not in (0, 1]", (double)o->top_p);
	if (!(o->min_p >= 0 && o->min_p <= 1))
		return evn_fail(err, EVN_ERR_USAGE, "min_p: %g is not in [0, 1]", (double)o->min_p);
	if (!(o->repeat_penalty > 0) || isinf(o->repeat_penalty))
		return evn_fail(err, EVN_ERR_USAGE, "repeat_penalty: %g is not a finite number > 0",
						(double)o->repeat_penalty);
	if (o->repeat_last_n < 0)
		return evn_fail(err, EVN_ERR_USAGE, "repeat_last_n: %d is below 0", o->repeat_last_n);
	return EVN_OK;
}

evn_status evn_sampler_create(evn_sampler **out, const evn_sample_options *o, uint32_t vocab, evn_error *err)
{
	*out = NULL;
	EVN_TRY(check(o, err));
	evn_sampler *s = calloc(1, sizeof *s);
	if (!s)
		return evn_fail_memory(err, "sampler", sizeof *s);
	s->o = *o;
	s->vocab = vocab;
	s->random.state = o->seed >= 0 ? (uint64_t)o->seed : (uint64_t)time(NULL) ^ evn_now_ns();
	s->banned = calloc(vocab, sizeof *s->banned);
	s->candidates = malloc(vocab * sizeof *s->candidates);
	s->probabilities = malloc(vocab * sizeof *s->probabilities);
	s->recent = malloc(((size_t)o->repeat_last_n + 1) * sizeof *s->recent);
	if (!s->banned || !s->candidates || !s->probabilities || !s->recent) {
		evn_sampler_free(s);
		return evn_fail_memory(err, "sampler", vocab * (sizeof *s->candidates + sizeof *s->probabilities));
	}
	*out = s;
	return EVN_OK;
}

void evn_sampler_free(evn_sampler *s)
{
	if (!s)
		return;
	free(s->banned);
	free(s->candidates);
	free(s->probabilities);
	free(s->recent);
	free(s);
}

void evn_sampler_accept(evn_sampler *s, int32_t id)
{
	uint32_t room = (uint32_t)s->o.repeat_last_n;
	if (!room)
		return;
	s->recent[s->next_recent] = id;
	s->next_recent = (s->next_recent + 1) % room;
	if (s->n_recent < room)
		s->n_recent++;
}

void evn_sampler_ban(evn_sampler *s, int32_t id)
{
	if (id >= 0 && (uint32_t)id < s->vocab)
		s->banned[id] = true;
}

/* Keskar et al. 2019: the logit of a seen token is divided if it is positive and multiplied if it is negative, once
 * for each token. */
static void penalise(evn_sampler *s)
{
	if (s->o.repeat_penalty == 1.0f)
		return;
	for (uint32_t i = 0; i < s->n_recent; i++) {
		bool again = false;
		for (uint32_t k = 0; k < i && !again; k++)
			again = s->recent[k] == s->recent[i];
		if (again || (uint32_t)s->recent[i] >= s->vocab)
			continue;
		float *logit = &s->candidates[s->recent[i]].logit;
		*logit = *logit > 0 ? *logit / s->o.repeat_penalty : *logit * s->o.repeat_penalty;
	}
}

static int by_logit(const void *a, const void *b)
{
	const candidate *x = a, *y = b;
	if (x->logit != y->logit)
		return x->logit > y->logit ? -1 : 1;
	return x->id < y->id ? -1 : 1;
}

/* Puts the k best, sorted, at the front. Insertion costs about V + k^2 ln(V/k) steps for a vocabulary of V. */
static uint32_t keep_top_k(evn_sampler *s)
{
	uint32_t k = s->o.top_k && (uint32_t)s->o.top_k < s->vocab ? (uint32_t)s->o.top_k : s->vocab;
	if (k == s->vocab) {
		qsort(s->candidates, s->vocab, sizeof *s->candidates, by_logit);
		return k;
	}
	candidate *c = s->candidates; /* insertion into the sorted first k */
	for (uint32_t i = 1; i < s->vocab; i++) {
		candidate v = c[i];
		uint32_t at = i < k ? i : k;
		if (at == k && by_logit(&v, &c[k - 1]) > 0)
			continue;
		if (at == k)
			at = k - 1;
		while (at > 0 && by_logit(&v, &c[at - 1]) < 0) {
			c[at] = c[at - 1];
			at--;
		}
		c[at] = v;
	}
	return k;
}

/* The probabilities of the first n at temperature 1 decide top-p and min-p, as in llama.cpp's default order. */
static uint32_t truncate(evn_sampler *s, uint32_t n)
{
	double sum = 0, so_far = 0;
	for (uint32_t i = 0; i < n; i++)
		sum += s->probabilities[i] = expf(s->candidates[i].logit - s->candidates[0].logit);
	uint32_t kept = n;
	for (uint32_t i = 0; i < n && s->o.top_p < 1; i++) {
		so_far += s->probabilities[i];
		if (so_far >= s->o.top_p * sum) {
			kept = i + 1;
			break;
		}
	}
	while (kept > 1 && s->probabilities[kept - 1] < s->o.min_p)
		kept--; /* min-p is relative to the best token, whose probability here is 1 */
	return kept;
}

/* A token with a logit of -infinity cannot be drawn. At least one other token must be left. */
static evn_status take_logits(evn_sampler *s, const float *logits, evn_error *err)
{
	bool any = false;
	for (uint32_t i = 0; i < s->vocab; i++) {
		if (isnan(logits[i]) || logits[i] == INFINITY)
			return evn_fail(err, EVN_ERR_DEVICE, "the logit of token %u is %s", i,
							isnan(logits[i]) ? "not a number" : "infinite");
		s->candidates[i] = (candidate){(int32_t)i, s->banned[i] ? -INFINITY : logits[i]};
		any |= s->candidates[i].logit > -INFINITY;
	}
	return any ? EVN_OK
			   : evn_fail(err, EVN_ERR_USAGE, "no token can be drawn: those not banned have a logit of -infinity");
}

static int32_t most_likely(const evn_sampler *s)
{
	uint32_t best = 0;
	for (uint32_t i = 1; i < s->vocab; i++)
		if (s->candidates[i].logit > s->candidates[best].logit)
			best = i;
	return (int32_t)best;
}

evn_status evn_sampler_draw(evn_sampler *s, const float *logits, int32_t *id, evn_error *err)
{
	EVN_TRY(take_logits(s, logits, err));
	penalise(s);
	if (s->o.temp == 0) {
		*id = most_likely(s);
		return EVN_OK;
	}
	uint32_t n = truncate(s, keep_top_k(s));
	double sum = 0, so_far = 0;
	for (uint32_t i = 0; i < n; i++)
		sum += s->probabilities[i] = expf((s->candidates[i].logit - s->candidates[0].logit) / s->o.temp);
	double at = evn_random_uniform(&s->random) * sum;
	uint32_t chosen = n - 1;
	for (uint32_t i = 0; i < n; i++) {
		so_far += s->probabilities[i];
		if (at < so_far) {
			chosen = i;
			break;
		}
	}
	*id = s->candidates[chosen].id;
	return EVN_OK;
}
