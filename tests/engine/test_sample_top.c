/* test_sample_top.c - drawing from the largest logits alone gives the ids that all logits give. */
#include "engine/harness.h"

#include <math.h>

#include "base/base.h"
#include "engine/sample_top.h"

#define VOCAB 8

static evn_sample_options plain(float temp)
{
	return (evn_sample_options){.temp = temp, .top_p = 1, .repeat_penalty = 1, .repeat_last_n = 64, .seed = 9};
}

static evn_sampler *make(evn_sample_options o)
{
	evn_error err = {0};
	evn_sampler *s;
	require_ok(evn_sampler_create(&s, &o, VOCAB, &err));
	return s;
}

/* Draws from all logits and from the largest must be equal, whatever is equal among them and however they are cut. */
static void test_the_largest_suffice(void **state)
{
	(void)state;
	enum { WIDE = 3000, CUT = 1700, LISTS = WIDE / EVN_TOP_SLICE + 2 };
	static float logits[WIDE];
	static uint64_t lists[LISTS * EVN_TOP_MOST], top[EVN_TOP_MOST];
	static const struct {
		float temp, top_p, min_p;
		int32_t top_k;
		uint32_t n_banned, needs;
	} cases[] = {{0, 1, 0, 0, 0, 1},
				 {0, 0.5f, 0.1f, 40, 3, 4},
				 {0.8f, 0.95f, 0.05f, 40, 0, 40},
				 {1.5f, 1, 0, 64, 0, 64},
				 {2, 0.7f, 0, 5, 20, 25},
				 {1, 1, 0, 1, 0, 1},
				 {0.8f, 0.95f, 0.05f, 65, 0, 0},
				 {0.8f, 0.95f, 0.05f, 0, 0, 0},
				 {1, 1, 0, 60, 5, 0}};
	evn_random random = {.state = 5};
	for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
		evn_sample_options o = plain(cases[c].temp);
		o.top_p = cases[c].top_p;
		o.min_p = cases[c].min_p;
		o.top_k = cases[c].top_k;
		evn_sampler *a, *b;
		evn_error err = {0};
		require_ok(evn_sampler_create(&a, &o, WIDE, &err));
		require_ok(evn_sampler_create(&b, &o, WIDE, &err));
		for (uint32_t i = 0; i < WIDE; i++)
			logits[i] = (float)floor(40 * evn_random_uniform(&random)) / 4; /* 75 have the largest */
		for (uint32_t i = 0; i < cases[c].n_banned; i++) {
			const int32_t id = (int32_t)(WIDE * evn_random_uniform(&random));
			logits[id] = 11;
			evn_sampler_ban(a, id);
			evn_sampler_ban(b, id);
		}
		const uint32_t n_top = evn_sampler_needs(b);
		assert_int_equal(n_top, cases[c].needs);
		if (n_top) {
			const evn_top_row rows[] = {{CUT, 0, 1}, {WIDE - CUT, CUT, 1}};
			memset(lists, 0xff, sizeof lists);
			evn_top_of(lists, n_top, logits, &rows[0]);
			evn_top_of(lists + (uint64_t)evn_top_first_list(CUT, 1) * n_top, n_top, logits + CUT, &rows[1]);
		}
		for (int i = 0; i < 200 && n_top; i++) {
			int32_t want, got;
			require_ok(evn_sampler_draw(a, logits, &want, &err));
			require_ok(evn_sampler_draw_top(b, top, evn_top_merge(top, lists, LISTS, n_top), &got, &err));
			assert_int_equal(got, want);
		}
		evn_sampler_free(a);
		evn_sampler_free(b);
	}
}

static void test_the_largest_are_numbers(void **state)
{
	(void)state;
	const float logits[VOCAB] = {0, 1, 2, NAN, 4, INFINITY, 6, 7};
	const float none[VOCAB] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY,
							   -INFINITY, -INFINITY, -INFINITY, -INFINITY};
	const evn_top_row row = {VOCAB, 0, 1};
	uint64_t list[2];
	int32_t id;
	evn_error err = {0};
	evn_sampler *s = make(plain(0));
	evn_top_of(list, 1, logits, &row);
	assert_int_equal(evn_sampler_draw_top(s, list, 1, &id, &err), EVN_ERR_DEVICE);
	assert_non_null(strstr(err.text, "token 3"));
	evn_top_of(list, 2, none, &row);
	assert_int_equal(evn_sampler_draw_top(s, list, 2, &id, &err), EVN_ERR_USAGE);
	assert_int_equal(evn_sampler_draw_top(s, list, 0, &id, &err), EVN_ERR_USAGE);
	evn_sampler_free(s);
}

static void test_penalties_need_all_logits(void **state)
{
	(void)state;
	evn_sample_options penalties[3] = {plain(0), plain(0), plain(0)};
	evn_error err = {0};
	penalties[0].repeat_penalty = 1.1f;
	penalties[1].frequency_penalty = 0.1f;
	penalties[2].presence_penalty = 0.1f;
	for (size_t i = 0; i < 3; i++) {
		evn_sampler *s = make(penalties[i]);
		assert_int_equal(evn_sampler_needs(s), 0);
		evn_sampler_free(s);
	}
	evn_sampler *s = make(plain(0));
	assert_int_equal(evn_sampler_needs(s), 1);
	require_ok(evn_sampler_bias(s, (evn_logit_bias){3, 1}, &err));
	assert_int_equal(evn_sampler_needs(s), 0);
	evn_sampler_free(s);
}

/* Only the tokens of a mask are drawn, biases or not; without any of them the draw fails. All logits are needed. */
static void test_a_mask(void **state)
{
	const float logits[VOCAB] = {0.5f, 2.0f, -1.0f, 1.5f, 0.0f, 1.0f, -3.0f, 1.75f};
	const uint64_t mask[] = {1u << 3 | 1u << 5}, none[] = {0};
	evn_sampler *s = make(plain(0)), *random = make(plain(5));
	int32_t id;
	bool drawn[VOCAB] = {false};
	(void)state;
	evn_sampler_allow(s, mask);
	evn_sampler_allow(random, mask);
	assert_int_equal(evn_sampler_needs(s), 0);
	assert_int_equal(evn_sampler_bias(s, (evn_logit_bias){1, 100}, NULL), EVN_OK);
	assert_int_equal(evn_sampler_draw(s, logits, &id, NULL), EVN_OK);
	assert_int_equal(id, 3);
	for (int i = 0; i < 500; i++) {
		assert_int_equal(evn_sampler_draw(random, logits, &id, NULL), EVN_OK);
		drawn[id] = true;
	}
	for (int i = 0; i < VOCAB; i++)
		assert_int_equal(drawn[i], i == 3 || i == 5);
	evn_sampler_allow(random, none);
	assert_int_equal(evn_sampler_draw(random, logits, &id, NULL), EVN_ERR_USAGE);
	evn_sampler_free(s);
	evn_sampler_free(random);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_largest_suffice), cmocka_unit_test(test_the_largest_are_numbers),
		cmocka_unit_test(test_penalties_need_all_logits), cmocka_unit_test(test_a_mask)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
