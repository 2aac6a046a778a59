/* test_sampler.c - the token that is drawn. Where only one answer is possible it must match exactly; otherwise
 * frequencies are compared with probabilities. Every seed is fixed, so nothing here depends on chance. */
#include "engine/harness.h"
#include "evener/sample.h"

#include <math.h>
#include <time.h>

#include "base/base.h"

#define VOCAB 8

static evn_sample_options plain(float temp, int64_t seed)
{
	return (evn_sample_options){.temp = temp, .top_p = 1, .repeat_penalty = 1, .repeat_last_n = 64, .seed = seed};
}

static evn_sampler *make(evn_sample_options o)
{
	evn_error err = {0};
	evn_sampler *s;
	require_ok(evn_sampler_create(&s, &o, VOCAB, &err));
	return s;
}

static int32_t draw(evn_sampler *s, const float *logits)
{
	evn_error err = {0};
	int32_t id = -1;
	require_ok(evn_sampler_draw(s, logits, &id, &err));
	return id;
}

/* Counts the tokens of n draws. */
static void count(evn_sample_options o, const float *logits, size_t n, size_t counts[VOCAB])
{
	evn_sampler *s = make(o);
	memset(counts, 0, VOCAB * sizeof *counts);
	for (size_t i = 0; i < n; i++) {
		int32_t id = draw(s, logits);
		assert_in_range(id, 0, VOCAB - 1);
		counts[id]++;
	}
	evn_sampler_free(s);
}

/* Exactly the tokens in the bit mask occur. */
static void assert_drawn(evn_sample_options o, const float *logits, unsigned mask)
{
	size_t counts[VOCAB];
	count(o, logits, 4000, counts);
	for (unsigned i = 0; i < VOCAB; i++)
		if ((counts[i] > 0) != (mask >> i & 1))
			fail_msg("token %u was drawn %zu times", i, counts[i]);
}

/* Pearson's statistic over VOCAB - 1 = 7 degrees of freedom: above 24.3 once in a thousand seeds. */
static void assert_frequencies(evn_sample_options o, const float *logits, const double *want)
{
	enum { N = 40000 };
	size_t counts[VOCAB];
	double statistic = 0;
	count(o, logits, N, counts);
	for (size_t i = 0; i < VOCAB; i++) {
		double expected = want[i] * N, d = (double)counts[i] - expected;
		if (want[i] > 0)
			statistic += d * d / expected;
		else
			assert_int_equal(counts[i], 0);
	}
	print_message("statistic %.1f\n", statistic);
	assert_true(statistic < 24.3);
}

static void softmax(const float *logits, double temp, double *out)
{
	double sum = 0;
	for (size_t i = 0; i < VOCAB; i++)
		sum += out[i] = exp((double)logits[i] / temp);
	for (size_t i = 0; i < VOCAB; i++)
		out[i] /= sum;
}

static const float logits[VOCAB] = {0.5f, 2.0f, -1.0f, 1.5f, 0.0f, 1.0f, -3.0f, 1.75f};
/* ranks: 1 (2.0), 7 (1.75), 3 (1.5), 5 (1.0), 0, 4, 2, 6 */

static void test_greedy(void **at)
{
	const float ties[VOCAB] = {1, 3, 2, 3, 3, 0, 0, 0}, low[VOCAB] = {-9, -9, -8, -9, -9, -9, -9, -9};
	evn_sampler *s = make(plain(0, 1));
	(void)at;
	assert_int_equal(draw(s, logits), 1);
	assert_int_equal(draw(s, ties), 1);
	assert_int_equal(draw(s, low), 2);
	evn_sampler_free(s);
}

static void test_top_k(void **at)
{
	const float ties[VOCAB] = {0, 1, 1, 1, 1, 0, 0, 0};
	evn_sample_options o = plain(1, 3);
	(void)at;
	o.top_k = 1;
	assert_drawn(o, logits, 1u << 1);
	assert_drawn(o, ties, 1u << 1);
	o.top_k = 3;
	assert_drawn(o, logits, 1u << 1 | 1u << 7 | 1u << 3);
	assert_drawn(o, ties, 1u << 1 | 1u << 2 | 1u << 3);
	o.top_k = 5;
	assert_drawn(o, ties, 1u << 0 | 1u << 1 | 1u << 2 | 1u << 3 | 1u << 4);
	o.top_k = 100;
	o.temp = 4; /* so that the least likely of eight tokens occurs */
	assert_drawn(o, logits, 0xff);
}

static void test_top_p(void **at)
{
	/* one half, a quarter, an eighth, ... */
	float halves[VOCAB];
	evn_sample_options o = plain(1, 4);
	(void)at;
	for (int i = 0; i < VOCAB; i++)
		halves[i] = (float)-i * logf(2);
	o.top_p = 0.4f;
	assert_drawn(o, halves, 0x1);
	o.top_p = 0.6f;
	assert_drawn(o, halves, 0x3);
	o.top_p = 0.8f;
	assert_drawn(o, halves, 0x7);
	o.top_p = 1e-6f; /* one token always stays */
	assert_drawn(o, halves, 0x1);
}

static void test_min_p(void **at)
{
	evn_sample_options o = plain(1, 5);
	(void)at;
	o.min_p = 0.5f; /* e^(1.5 - 2) = 0.61 stays, e^(1 - 2) = 0.37 goes */
	assert_drawn(o, logits, 1u << 1 | 1u << 7 | 1u << 3);
	o.min_p = 1;
	assert_drawn(o, logits, 1u << 1);
	/* The cuts are made before the temperature is applied, as at temperature 1. */
	o.min_p = 0.5f;
	o.temp = 100;
	assert_drawn(o, logits, 1u << 1 | 1u << 7 | 1u << 3);
}

static void test_frequencies(void **at)
{
	static const double temps[] = {1, 0.5, 2};
	double want[VOCAB];
	(void)at;
	for (size_t i = 0; i < 3; i++) {
		softmax(logits, temps[i], want);
		assert_frequencies(plain((float)temps[i], 6 + (int64_t)i), logits, want);
	}
}

/* The probability of what is cut goes to the others in proportion. */
static void test_frequencies_after_a_cut(void **at)
{
	double want[VOCAB], sum = 0;
	evn_sample_options o = plain(1.5f, 11);
	(void)at;
	o.top_k = 4;
	softmax(logits, 1.5, want);
	want[0] = want[4] = want[2] = want[6] = 0;
	for (size_t i = 0; i < VOCAB; i++)
		sum += want[i];
	for (size_t i = 0; i < VOCAB; i++)
		want[i] /= sum;
	assert_frequencies(o, logits, want);
}

static void draw_many(int64_t seed, int32_t *ids, size_t n)
{
	evn_sampler *s = make(plain(1, seed));
	for (size_t i = 0; i < n; i++)
		ids[i] = draw(s, logits);
	evn_sampler_free(s);
}

static void test_seeds(void **at)
{
	int32_t first[64], again[64], other[64];
	(void)at;
	draw_many(42, first, 64);
	draw_many(42, again, 64);
	draw_many(43, other, 64);
	assert_memory_equal(first, again, sizeof first);
	assert_memory_not_equal(first, other, sizeof first);
	draw_many(0, first, 64);
	draw_many(0, again, 64);
	assert_memory_equal(first, again, sizeof first);
}

static void test_repeat_penalty(void **at)
{
	evn_sample_options o = plain(0, 1);
	const float negative[VOCAB] = {-4, -1, -1.5f, -4, -4, -4, -4, -4};
	(void)at;
	o.repeat_penalty = 1.25f;
	evn_sampler *s = make(o);
	evn_sampler_accept(s, 1);
	evn_sampler_accept(s, 1); /* once for each token: 2.0 / 1.25 = 1.6 is below 1.75 */
	assert_int_equal(draw(s, logits), 7);
	evn_sampler_accept(s, 7); /* 1.75 / 1.25 = 1.4: now 1 with 1.6 is ahead again */
	assert_int_equal(draw(s, logits), 1);
	evn_sampler_free(s);
	o.repeat_penalty = 2; /* a negative logit is multiplied: -1 becomes -2 */
	s = make(o);
	evn_sampler_accept(s, 1);
	assert_int_equal(draw(s, negative), 2);
	evn_sampler_free(s);
}

/* A penalty below 1 can exceed the largest number. */
static void test_repeat_penalty_has_an_end(void **at)
{
	evn_sample_options o = plain(1, 1);
	const float large[VOCAB] = {1e38f, -1e38f, 0, 0, 0, 0, 0, 0};
	(void)at;
	o.repeat_penalty = 1e-3f;
	evn_sampler *s = make(o);
	evn_sampler_accept(s, 0);
	evn_sampler_accept(s, 1);
	for (int i = 0; i < 10; i++)
		assert_int_equal(draw(s, large), 0);
	evn_sampler_free(s);
}

static void test_repeat_window(void **at)
{
	evn_sample_options o = plain(0, 1);
	(void)at;
	o.repeat_penalty = 10;
	o.repeat_last_n = 2;
	evn_sampler *s = make(o);
	evn_sampler_accept(s, 1);
	evn_sampler_accept(s, 4);
	assert_int_equal(draw(s, logits), 7);
	evn_sampler_accept(s, 4); /* removes token 1 from the ring */
	assert_int_equal(draw(s, logits), 1);
	evn_sampler_free(s);
	o.repeat_last_n = 0;
	s = make(o);
	evn_sampler_accept(s, 1);
	assert_int_equal(draw(s, logits), 1);
	evn_sampler_accept(s, -1);
	evn_sampler_accept(s, VOCAB);
	assert_int_equal(draw(s, logits), 1);
	evn_sampler_free(s);
}

static void test_foreign_ids_are_ignored(void **at)
{
	evn_sample_options o = plain(0, 1);
	(void)at;
	o.repeat_penalty = 2;
	evn_sampler *s = make(o);
	evn_sampler_accept(s, -1);
	evn_sampler_accept(s, VOCAB);
	evn_sampler_accept(s, INT32_MAX);
	evn_sampler_ban(s, -1);
	evn_sampler_ban(s, VOCAB);
	assert_int_equal(draw(s, logits), 1);
	evn_sampler_free(s);
}

static void test_banned(void **at)
{
	size_t counts[VOCAB] = {0};
	evn_sampler *s = make(plain(0, 1)), *random = make(plain(5, 2));
	(void)at;
	evn_sampler_ban(s, 1);
	assert_int_equal(draw(s, logits), 7);
	evn_sampler_ban(s, 7);
	evn_sampler_ban(s, 3);
	assert_int_equal(draw(s, logits), 5);
	evn_sampler_ban(random, 1);
	for (int i = 0; i < 2000; i++)
		counts[draw(random, logits)]++;
	for (size_t i = 0; i < VOCAB; i++)
		assert_int_equal(counts[i] > 0, i != 1);
	evn_sampler_free(s);
	evn_sampler_free(random);
}

/* Tokens that were drawn lose frequency_penalty for each time and presence_penalty once; those of a prompt do not. */
static void test_frequency_and_presence(void **at)
{
	evn_sample_options o = plain(0, 1);
	(void)at;
	o.frequency_penalty = 0.1f;
	evn_sampler *s = make(o);
	evn_sampler_accept_prompt(s, (int32_t[]){1, 1, 1, 1}, 4);
	assert_int_equal(draw(s, logits), 1);
	evn_sampler_accept(s, 1);
	evn_sampler_accept(s, 1); /* 2.0 - 0.2 is above 1.75 */
	assert_int_equal(draw(s, logits), 1);
	evn_sampler_accept(s, 1); /* 1.7 */
	assert_int_equal(draw(s, logits), 7);
	evn_sampler_free(s);

	o.frequency_penalty = 0;
	o.presence_penalty = 0.2f;
	s = make(o);
	evn_sampler_accept(s, 1);
	evn_sampler_accept(s, 1); /* 1.8 */
	assert_int_equal(draw(s, logits), 1);
	evn_sampler_free(s);
}

static void test_bias(void **at)
{
	evn_error err = {0};
	(void)at;
	evn_sampler *s = make(plain(0, 1));
	assert_int_equal(evn_sampler_bias(s, (evn_logit_bias){1, -0.3f}, &err), EVN_OK);
	assert_int_equal(draw(s, logits), 7);
	assert_int_equal(evn_sampler_bias(s, (evn_logit_bias){5, 10}, &err), EVN_OK);
	assert_int_equal(draw(s, logits), 5);
	assert_int_equal(evn_sampler_bias(s, (evn_logit_bias){VOCAB, 1}, &err), EVN_ERR_USAGE);
	assert_int_equal(evn_sampler_bias(s, (evn_logit_bias){-1, 1}, &err), EVN_ERR_USAGE);
	assert_int_equal(evn_sampler_bias(s, (evn_logit_bias){0, NAN}, &err), EVN_ERR_USAGE);
	evn_sampler_free(s);
}

/* A banned token stays banned when it was accepted before and its penalised logit is -infinity. */
static void test_banned_and_penalised(void **at)
{
	evn_sample_options o = plain(0, 1);
	(void)at;
	o.repeat_penalty = 1.5f;
	evn_sampler *s = make(o);
	evn_sampler_accept(s, 1);
	evn_sampler_ban(s, 1);
	assert_int_equal(draw(s, logits), 7);
	evn_sampler_free(s);
}

/* A banned token 0 is not drawn just because it is the first and the others have no chance. */
static void test_only_one_left(void **at)
{
	float none[VOCAB];
	(void)at;
	for (int i = 0; i < VOCAB; i++)
		none[i] = i == 5 ? -1 : -INFINITY;
	evn_sampler *s = make(plain(0, 1)), *random = make(plain(1, 1));
	assert_int_equal(draw(s, none), 5);
	for (int i = 0; i < 100; i++)
		assert_int_equal(draw(random, none), 5);
	evn_sampler_free(s);
	evn_sampler_free(random);
}

static void test_nothing_left(void **at)
{
	evn_error err = {0};
	int32_t id = -1;
	(void)at;
	for (int random = 0; random < 2; random++) {
		evn_sampler *s = make(plain((float)random, 1));
		for (int32_t i = 0; i < VOCAB; i++)
			evn_sampler_ban(s, i);
		assert_int_equal(evn_sampler_draw(s, logits, &id, &err), EVN_ERR_USAGE);
		assert_string_equal(err.text, "no token can be drawn: those not banned have a logit of -infinity");
		assert_int_equal(id, -1);
		evn_sampler_free(s);
	}
}

static void test_not_a_number(void **at)
{
	evn_error err = {0};
	int32_t id = -1;
	float bad[VOCAB];
	(void)at;
	memcpy(bad, logits, sizeof bad);
	bad[6] = NAN;
	evn_sampler *s = make(plain(0, 1));
	assert_int_equal(evn_sampler_draw(s, bad, &id, &err), EVN_ERR_DEVICE);
	assert_string_equal(err.text, "the logit of token 6 is not a number");
	bad[6] = INFINITY;
	assert_int_equal(evn_sampler_draw(s, bad, &id, &err), EVN_ERR_DEVICE);
	assert_string_equal(err.text, "the logit of token 6 is infinite");
	assert_int_equal(id, -1);
	assert_int_equal(draw(s, logits), 1); /* still usable */
	evn_sampler_free(s);
}

static void test_wrong_options(void **at)
{
	evn_error err = {0};
	evn_sampler *s = NULL;
	evn_sample_options wrong[12];
	(void)at;
	for (size_t i = 0; i < 12; i++)
		wrong[i] = evn_sample_defaults();
	wrong[0].temp = -1;
	wrong[1].temp = NAN;
	wrong[2].temp = INFINITY;
	wrong[3].top_k = -1;
	wrong[4].top_p = 0;
	wrong[5].top_p = 1.5f;
	wrong[6].top_p = NAN;
	wrong[7].min_p = -0.1f;
	wrong[8].min_p = 2;
	wrong[9].repeat_penalty = 0;
	wrong[10].repeat_penalty = INFINITY;
	wrong[11].repeat_last_n = -1;
	static const char *const names[] = {
		"temp:",  "temp:",  "temp:",  "top_k:",          "top_p:",          "top_p:",
		"top_p:", "min_p:", "min_p:", "repeat_penalty:", "repeat_penalty:", "repeat_last_n:"};
	for (size_t i = 0; i < 12; i++) {
		assert_int_equal(evn_sampler_create(&s, &wrong[i], VOCAB, &err), EVN_ERR_USAGE);
		assert_null(s);
		assert_memory_equal(err.text, names[i], strlen(names[i]));
	}
	evn_sampler_free(NULL);
}

/* ---- against a sampler that sorts everything ---------------------------------------------------------------------
 */

#define MANY 2000u

static const float *sorted_logits;

static int by_logit(const void *a, const void *b)
{
	const int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
	if (sorted_logits[x] != sorted_logits[y])
		return sorted_logits[x] > sorted_logits[y] ? -1 : 1;
	return x < y ? -1 : 1;
}

static int32_t draw_from_sorted(const evn_sample_options *o, const float *l, evn_random *random)
{
	static int32_t ids[MANY];
	uint32_t n = o->top_k && o->top_k < (int32_t)MANY ? (uint32_t)o->top_k : MANY, kept;
	double sum = 0, so_far = 0, at;
	for (uint32_t i = 0; i < MANY; i++)
		ids[i] = (int32_t)i;
	sorted_logits = l;
	qsort(ids, MANY, sizeof *ids, by_logit);
	for (uint32_t i = 0; i < n; i++)
		sum += expf(l[ids[i]] - l[ids[0]]);
	for (kept = o->top_p < 1 ? 0 : n; kept < n && so_far < o->top_p * sum; kept++)
		so_far += expf(l[ids[kept]] - l[ids[0]]);
	while (kept > 1 && expf(l[ids[kept - 1]] - l[ids[0]]) < o->min_p)
		kept--;
	sum = so_far = 0;
	for (uint32_t i = 0; i < kept; i++)
		sum += expf((l[ids[i]] - l[ids[0]]) / o->temp);
	at = evn_random_uniform(random) * sum;
	for (uint32_t i = 0; i < kept; i++)
		if (at < (so_far += expf((l[ids[i]] - l[ids[0]]) / o->temp)))
			return ids[i];
	return ids[kept - 1];
}

/* Some logits are equal, 0 among them also as -0. */
static float draw_logit(evn_random *numbers)
{
	const float logit = roundf(40 * (float)evn_random_normal(numbers)) / 16;
	return logit == 0 ? copysignf(0, (float)evn_random_normal(numbers)) : logit;
}

static void test_cuts_are_those_of_a_sorted_vocabulary(void **at)
{
	static const struct {
		int32_t k;
		float p, min_p, temp;
	} cuts[] = {{40, 0.95f, 0.05f, 0.8f}, {40, 1, 0, 1},           {1, 1, 0, 0.8f},     {0, 0.9f, 0, 0.8f},
				{0, 1, 0.02f, 3},         {0, 0.8f, 0.001f, 0.8f}, {1999, 0.99f, 0, 2}, {0, 1, 0, 0.8f},
				{1999, 1, 0, 1},          {1000, 1, 0, 50},        {MANY, 1, 0, 50}};
	static float many[MANY];
	evn_random numbers = {7};
	(void)at;
	for (size_t c = 0; c < sizeof cuts / sizeof *cuts; c++) {
		const evn_sample_options o = {.temp = cuts[c].temp,
									  .top_k = cuts[c].k,
									  .top_p = cuts[c].p,
									  .min_p = cuts[c].min_p,
									  .repeat_penalty = 1,
									  .seed = 5};
		evn_random random = {5};
		evn_error err = {0};
		evn_sampler *s;
		require_ok(evn_sampler_create(&s, &o, MANY, &err));
		for (int i = 0; i < 30; i++) {
			for (uint32_t v = 0; v < MANY; v++)
				many[v] = v % 100 == 99 ? -INFINITY : draw_logit(&numbers);
			assert_int_equal(draw(s, many), draw_from_sorted(&o, many, &random));
		}
		evn_sampler_free(s);
	}
}

/* ---- time --------------------------------------------------------------------------------------------------------
 */

enum { LARGE = 300000 };

static double seconds_to_sort(const float *l)
{
	int32_t *ids = malloc(LARGE * sizeof *ids);
	assert_non_null(ids);
	for (int32_t i = 0; i < LARGE; i++)
		ids[i] = i;
	sorted_logits = l;
	const clock_t began = clock();
	qsort(ids, LARGE, sizeof *ids, by_logit);
	const clock_t ended = clock();
	free(ids);
	return (double)(ended - began) / CLOCKS_PER_SEC;
}

static double seconds_to_draw(evn_sample_options o, const float *l)
{
	evn_error err = {0};
	evn_sampler *s;
	require_ok(evn_sampler_create(&s, &o, LARGE, &err));
	for (int32_t i = 0; i < o.repeat_last_n; i++)
		evn_sampler_accept(s, i);
	const clock_t began = clock();
	draw(s, l);
	const clock_t ended = clock();
	evn_sampler_free(s);
	return (double)(ended - began) / CLOCKS_PER_SEC;
}

/* A quadratic step would take a thousand times as long as qsort. The logits ascend: each token is better than all
 * before it. */
static void test_no_option_makes_a_draw_quadratic(void **at)
{
	evn_sample_options few = plain(1, 5), most = few, all = few, window = few;
	float *ascending = malloc(LARGE * sizeof *ascending);
	(void)at;
	assert_non_null(ascending);
	for (int i = 0; i < LARGE; i++)
		ascending[i] = (float)i * 1e-4f;
	few.top_k = 1000;
	most.top_k = LARGE / 3;
	window.repeat_last_n = LARGE;
	window.repeat_penalty = 1.1f;
	const evn_sample_options each[] = {few, most, all, window};
	const double sorting = seconds_to_sort(ascending);
	for (size_t i = 0; i < sizeof each / sizeof *each; i++)
		assert_true(seconds_to_draw(each[i], ascending) < 20 * sorting + 0.1);
	free(ascending);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_greedy),
		cmocka_unit_test(test_top_k),
		cmocka_unit_test(test_top_p),
		cmocka_unit_test(test_min_p),
		cmocka_unit_test(test_frequencies),
		cmocka_unit_test(test_frequencies_after_a_cut),
		cmocka_unit_test(test_seeds),
		cmocka_unit_test(test_repeat_penalty),
		cmocka_unit_test(test_repeat_penalty_has_an_end),
		cmocka_unit_test(test_repeat_window),
		cmocka_unit_test(test_foreign_ids_are_ignored),
		cmocka_unit_test(test_frequency_and_presence),
		cmocka_unit_test(test_bias),
		cmocka_unit_test(test_banned),
		cmocka_unit_test(test_banned_and_penalised),
		cmocka_unit_test(test_only_one_left),
		cmocka_unit_test(test_nothing_left),
		cmocka_unit_test(test_not_a_number),
		cmocka_unit_test(test_wrong_options),
		cmocka_unit_test(test_cuts_are_those_of_a_sorted_vocabulary),
		cmocka_unit_test(test_no_option_makes_a_draw_quadratic),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
