/* sample.c - draws the next token from the logits: bias, penalties, top-k, top-p, min-p, temperature, then the
 * draw. Every step takes time in proportion to the vocabulary, whatever the options and the logits are. */
#include "evener/sample.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/base.h"
#include "engine/sample_top.h"

/* The end of the best candidates: it includes the first n_equal of those with this key. */
typedef struct {
	uint32_t key, n_equal;
} end_point;

#define NEVER 0xff800000u /* the key of -infinity */

/* Arrays of the vocabulary's size. */
struct evn_sampler {
	evn_sample_options o;
	uint32_t vocab;
	int32_t *banned;
	uint32_t n_banned;
	evn_random random;
	/* The candidates that the cuts have left, in the order of their ids. A key stands for a logit; the most likely
	 * token has the smallest. */
	uint32_t n_candidates, best_key;
	uint32_t *keys, *places;
	int32_t *ids;
	float *weights;
	int32_t *recent; /* ring buffer of the last accepted ids */
	uint32_t n_recent, next_recent;
	uint32_t *n_drawn, n_distinct; /* n_drawn: how often each token was drawn; NULL if no penalty needs it */
	int32_t *drawn;                /* the tokens that were drawn, n_distinct of them */
	float *bias;                   /* NULL: none */
	const uint64_t *allowed;       /* a bit for each token; NULL: all */
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
	if (!isfinite(o->frequency_penalty) || !isfinite(o->presence_penalty))
		return evn_fail(err, EVN_ERR_USAGE, "frequency_penalty, presence_penalty: %g and %g must be finite numbers",
						(double)o->frequency_penalty, (double)o->presence_penalty);
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
	const bool counts = o->frequency_penalty != 0 || o->presence_penalty != 0;
	s->n_drawn = counts ? calloc(vocab, sizeof *s->n_drawn) : NULL;
	s->drawn = counts ? malloc(vocab * sizeof *s->drawn) : NULL;
	s->random.state = o->seed >= 0 ? (uint64_t)o->seed : (uint64_t)time(NULL) ^ evn_now_ns();
	s->banned = malloc(vocab * sizeof *s->banned);
	s->keys = malloc(vocab * sizeof *s->keys);
	s->places = malloc(vocab * sizeof *s->places);
	s->ids = malloc(vocab * sizeof *s->ids);
	s->weights = malloc(vocab * sizeof *s->weights);
	s->recent = malloc(((size_t)o->repeat_last_n + 1) * sizeof *s->recent);
	if (!s->banned || !s->keys || !s->places || !s->ids || !s->weights || !s->recent ||
		(counts && (!s->n_drawn || !s->drawn))) {
		evn_sampler_free(s);
		return evn_fail_memory(err, "sampler", 5 * vocab * sizeof *s->keys);
	}
	*out = s;
	return EVN_OK;
}

void evn_sampler_free(evn_sampler *s)
{
	if (!s)
		return;
	free(s->banned);
	free(s->keys);
	free(s->places);
	free(s->ids);
	free(s->weights);
	free(s->recent);
	free(s->n_drawn);
	free(s->drawn);
	free(s->bias);
	free(s);
}

static void remember(evn_sampler *s, int32_t id)
{
	uint32_t room = (uint32_t)s->o.repeat_last_n;
	if (!room)
		return;
	s->recent[s->next_recent] = id;
	s->next_recent = (s->next_recent + 1) % room;
	if (s->n_recent < room)
		s->n_recent++;
}

void evn_sampler_accept_prompt(evn_sampler *s, const int32_t *ids, size_t n)
{
	for (size_t i = 0; i < n; i++)
		remember(s, ids[i]);
}

void evn_sampler_accept(evn_sampler *s, int32_t id)
{
	remember(s, id);
	if (s->n_drawn && id >= 0 && (uint32_t)id < s->vocab && s->n_drawn[id]++ == 0)
		s->drawn[s->n_distinct++] = id;
}

evn_status evn_sampler_bias(evn_sampler *s, evn_logit_bias bias, evn_error *err)
{
	if (bias.id < 0 || (uint32_t)bias.id >= s->vocab)
		return evn_fail(err, EVN_ERR_USAGE, "logit bias: token id %d, the vocabulary has 0 to %u", bias.id,
						s->vocab - 1);
	if (!isfinite(bias.bias))
		return evn_fail(err, EVN_ERR_USAGE, "logit bias of token %d: %g is not a finite number", bias.id,
						(double)bias.bias);
	if (!s->bias)
		s->bias = calloc(s->vocab, sizeof *s->bias);
	if (!s->bias)
		return evn_fail_memory(err, "sampler", s->vocab * sizeof *s->bias);
	s->bias[bias.id] = bias.bias;
	return EVN_OK;
}

void evn_sampler_ban(evn_sampler *s, int32_t id)
{
	bool again = false;
	for (uint32_t i = 0; i < s->n_banned && !again; i++)
		again = s->banned[i] == id;
	if (!again && id >= 0 && (uint32_t)id < s->vocab)
		s->banned[s->n_banned++] = id;
}

void evn_sampler_allow(evn_sampler *s, const uint64_t *mask) { s->allowed = mask; }

static evn_status bad_logit(const float *logits, evn_error *err)
{
	uint32_t i = 0;
	while (logits[i] < INFINITY)
		i++;
	return evn_fail(err, EVN_ERR_DEVICE, "the logit of token %u is %s", i,
					isnan(logits[i]) ? "not a number" : "infinite");
}

/* Keskar et al. 2019: the logit of a seen token is divided if it is positive and multiplied if it is negative, once
 * for each token. */
static float penalised(float logit, float penalty)
{
	return logit > 0 ? fminf(logit / penalty, FLT_MAX) : logit * penalty;
}

static void penalise(evn_sampler *s, const float *logits)
{
	const evn_sample_options *o = &s->o;
	for (uint32_t i = 0; s->bias && i < s->vocab; i++)
		s->keys[i] = evn_logit_key(logits[i] + s->bias[i]);
	for (uint32_t i = 0; i < s->n_recent; i++) {
		const int32_t id = s->recent[i];
		if ((uint32_t)id < s->vocab)
			s->keys[id] = evn_logit_key(penalised(logits[id] + (s->bias ? s->bias[id] : 0), o->repeat_penalty));
	}
	for (uint32_t i = 0; i < s->n_distinct; i++) {
		const int32_t id = s->drawn[i];
		const float times = (float)s->n_drawn[id];
		s->keys[id] = evn_logit_key(evn_key_logit(s->keys[id]) - times * o->frequency_penalty - o->presence_penalty);
	}
}

/* A token with a logit of -infinity cannot be drawn. At least one other token must be left. */
static evn_status find_best(evn_sampler *s, evn_error *err)
{
	uint32_t best = NEVER;
	for (uint32_t i = 0; i < s->n_candidates; i++)
		best = s->keys[i] < best ? s->keys[i] : best;
	s->best_key = best;
	return best < NEVER
			   ? EVN_OK
			   : evn_fail(err, EVN_ERR_USAGE, "no token can be drawn: those not banned have a logit of -infinity");
}

static evn_status read_logits(evn_sampler *s, const float *logits, evn_error *err)
{
	const uint32_t n = s->n_candidates = s->vocab;
	uint32_t *const keys = s->keys, n_bad = 0;
	for (uint32_t i = 0; i < n; i++) {
		n_bad += !(logits[i] < INFINITY);
		keys[i] = evn_logit_key(logits[i]);
		s->ids[i] = (int32_t)i;
	}
	if (n_bad)
		return bad_logit(logits, err);
	penalise(s, logits);
	for (uint32_t i = 0; i < s->n_banned; i++)
		keys[s->banned[i]] = NEVER;
	for (uint32_t i = 0; s->allowed && i < n; i++)
		keys[i] = s->allowed[i / 64] >> i % 64 & 1 ? keys[i] : NEVER;
	return find_best(s, err);
}

/* The candidates get the order of their ids. */
static evn_status read_top(evn_sampler *s, const uint64_t *entries, uint32_t n, evn_error *err)
{
	s->n_candidates = n;
	for (uint32_t i = 0; i < n; i++) {
		uint32_t at = i;
		const int32_t id = evn_top_id(entries[i]);
		if (!evn_top_key(entries[i]))
			return evn_fail(err, EVN_ERR_DEVICE, "the logit of token %d is not a number, or infinite", id);
		for (; at && s->ids[at - 1] > id; at--) {
			s->ids[at] = s->ids[at - 1];
			s->keys[at] = s->keys[at - 1];
		}
		s->ids[at] = id;
		s->keys[at] = evn_top_key(entries[i]);
	}
	for (uint32_t i = 0; i < s->n_banned; i++)
		for (uint32_t k = 0; k < n; k++)
			s->keys[k] = s->ids[k] == s->banned[i] ? NEVER : s->keys[k];
	return find_best(s, err);
}

/* ---- the best candidates --------------------------------------------------------------------------------------- */

/* A key has three digits. The first takes the sign, the exponent and four more bits: so ordinary logits have a
 * hundred different ones. */
#define DIGITS 3
#define FIRST_BITS 13
static const struct {
	int shift, bits;
} digits[DIGITS] = {{19, FIRST_BITS}, {9, 10}, {0, 9}};

/* The first value of the digit up to which the sums reach the rest of the limit, or the last value that occurs.
 * Subtracts the sums before it from the limit. */
static uint32_t find_value(const double *sums, uint32_t n_values, double *limit)
{
	uint32_t value = 0;
	double before = 0, so_far = 0;
	for (uint32_t i = 0; i < n_values && so_far < *limit; i++)
		if (sums[i] > 0) {
			value = i;
			before = so_far;
			so_far += sums[i];
		}
	*limit -= before;
	return value;
}

/* The candidates at n of the places (NULL: the first n), by the digit's value: the sums of their weights, 1 each
 * without weights. */
static void add_weights(const evn_sampler *s, const float *weights, const uint32_t *places, uint32_t n, int d,
						double *sums)
{
	const uint32_t mask = (1u << digits[d].bits) - 1, *const keys = s->keys;
	memset(sums, 0, sizeof *sums << digits[d].bits);
	for (uint32_t i = 0; i < n; i++) {
		const uint32_t place = places ? places[i] : i;
		sums[keys[place] >> digits[d].shift & mask] += weights ? (double)weights[place] : 1;
	}
}

/* The fewest best candidates whose weights add up to the limit. Candidates with equal logits are in the order of
 * their ids. Nothing is sorted: the digits of the last candidate's key are found one after the other, each among the
 * candidates that have the digits before it. */
static end_point find_end(const evn_sampler *s, const float *weights, double limit)
{
	const uint32_t *const keys = s->keys;
	uint32_t n = s->n_candidates, *const places = s->places;
	double sums[1 << FIRST_BITS], so_far = 0;
	end_point end = {0, 0};
	for (int d = 0; d < DIGITS; d++) {
		uint32_t n_left = 0;
		add_weights(s, weights, d ? places : NULL, n, d, sums);
		end.key = end.key << digits[d].bits | find_value(sums, 1u << digits[d].bits, &limit);
		for (uint32_t i = 0; i < n; i++) {
			places[n_left] = d ? places[i] : i;
			n_left += keys[places[n_left]] >> digits[d].shift == end.key;
		}
		n = n_left;
	}
	for (; end.n_equal < n && so_far < limit; end.n_equal++)
		so_far += weights ? (double)weights[places[end.n_equal]] : 1;
	return end;
}

/* Keeps the candidates up to this end. */
static void keep(evn_sampler *s, end_point end)
{
	const uint32_t n = s->n_candidates;
	uint32_t n_kept = 0, n_equal = 0, *const keys = s->keys;
	int32_t *const ids = s->ids;
	for (uint32_t i = 0; i < n; i++) { /* no branches: which are kept cannot be predicted */
		const uint32_t is_before = keys[i] < end.key, is_equal = keys[i] == end.key;
		keys[n_kept] = keys[i];
		ids[n_kept] = ids[i];
		n_kept += is_before | (is_equal & (n_equal < end.n_equal));
		n_equal += is_equal;
	}
	s->n_candidates = n_kept;
}

/* The largest key whose probability at temperature 1 is at least min_p. */
static uint32_t last_key(const evn_sampler *s)
{
	const float top = evn_key_logit(s->best_key);
	uint32_t low = s->best_key, high = NEVER;
	while (low < high) {
		const uint32_t middle = low + (high - low + 1) / 2;
		if (expf(evn_key_logit(middle) - top) < s->o.min_p)
			high = middle - 1;
		else
			low = middle;
	}
	return low;
}

/* The weight of a token is its probability at a temperature, relative to the best token's. Returns the sum. */
static double compute_weights(evn_sampler *s, float temp)
{
	const float top = evn_key_logit(s->best_key);
	const uint32_t n = s->n_candidates, *const keys = s->keys;
	float *const weights = s->weights;
	double sum = 0;
	for (uint32_t i = 0; i < n; i++)
		weights[i] = (evn_key_logit(keys[i]) - top) / temp;
	for (uint32_t i = 0; i < n; i++)
		sum += weights[i] = expf(weights[i]);
	return sum;
}

/* The probabilities at temperature 1 among the tokens that top-k leaves decide top-p and min-p, as in llama.cpp's
 * default order. */
static void cut(evn_sampler *s)
{
	const evn_sample_options *o = &s->o;
	if (o->top_k && (uint32_t)o->top_k < s->vocab)
		keep(s, find_end(s, NULL, o->top_k));
	if (o->top_p < 1)
		keep(s, find_end(s, s->weights, (double)o->top_p * compute_weights(s, 1)));
	if (o->min_p > 0)
		keep(s, (end_point){.key = last_key(s), .n_equal = UINT32_MAX});
}

static int32_t id_at(const evn_sampler *s, end_point end)
{
	uint32_t i = 0;
	for (uint32_t n_equal = 0;; i++)
		if (s->keys[i] == end.key && ++n_equal == end.n_equal)
			return s->ids[i];
}

static int32_t draw(evn_sampler *s)
{
	if (s->o.temp == 0)
		return id_at(s, (end_point){s->best_key, 1});
	cut(s);
	const double at = compute_weights(s, s->o.temp) * evn_random_uniform(&s->random);
	return id_at(s, find_end(s, s->weights, nextafter(at, INFINITY)));
}

evn_status evn_sampler_draw(evn_sampler *s, const float *logits, int32_t *id, evn_error *err)
{
	EVN_TRY(read_logits(s, logits, err));
	*id = draw(s);
	return EVN_OK;
}

uint32_t evn_sampler_needs(const evn_sampler *s)
{
	const evn_sample_options *o = &s->o;
	const uint32_t kept = o->temp == 0 ? 1 : (uint32_t)o->top_k;
	if (s->allowed || s->bias || s->n_drawn || o->repeat_penalty != 1 || !kept || kept > EVN_TOP_MOST)
		return 0;
	return s->n_banned <= EVN_TOP_MOST - kept ? kept + s->n_banned : 0;
}

evn_status evn_sampler_draw_top(evn_sampler *s, const uint64_t *entries, uint32_t n, int32_t *id, evn_error *err)
{
	EVN_TRY(read_top(s, entries, n, err));
	*id = draw(s);
	return EVN_OK;
}
