/* test_choose.c - the planner takes the fastest set that is allowed, and gives a reason for each device that it
 * leaves out. */
#include "plan/shapes.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static evn_plan_candidate device(const char *name, double gbs, int chip, int driver)
{
	return (evn_plan_candidate){.name = name,
								.id = name,
								.rates = {.gemv_gbs = gbs, .gemm_gflops = 5 * gbs, .vocab_gbs = gbs, .block_us = 5},
								.memory_bytes = GIB,
								.share = EVN_SHARE_AUTO,
								.prompt_share = EVN_SHARE_AUTO,
								.chip = chip,
								.driver = driver};
}

/* The same cost for one token and for a step of a prompt. */
static evn_reduce_cost cost_of(double us) { return (evn_reduce_cost){us, us}; }

static void assert_says(const evn_choice *ch, uint32_t i, const char *text)
{
	assert_false(ch->taken[i]);
	if (!strstr(ch->reason[i], text))
		fail_msg("reason is \"%s\", expected \"%s\" in it", ch->reason[i], text);
}

static void the_twin_driver_and_the_slow_device_are_dropped(void **state)
{
	(void)state;
	const llama m = small_model(2048);
	const evn_plan_shape s = shape_of(&m);
	evn_plan_candidate c[] = {device("0:0 pthread", 10, 0, 0), device("1:0 intel", 9, 0, 1),
							  device("2:0 llvmpipe", 0.1, -1, 2), device("3:0 other", 10, 1, 3)};
	evn_choice ch;
	assert_int_equal(evn_plan_choose(&ch, &s, c, 3, EVN_DECODE, cost_of(20), NULL), EVN_OK);
	assert_true(ch.taken[0]);
	assert_says(&ch, 1, "same chip as 0:0 pthread, which is faster: ");
	assert_says(&ch, 2, "2:0 llvmpipe would make decoding slower: ");
	assert_int_equal(ch.best_single, 0);
	assert_memory_equal(&ch.predicted, &ch.best_single_predicted, sizeof ch.predicted);

	assert_int_equal(evn_plan_choose(&ch, &s, c, 4, EVN_DECODE, cost_of(20), NULL), EVN_OK);
	assert_true(ch.taken[0] && !ch.taken[1] && !ch.taken[2] && ch.taken[3]);
	assert_true(ch.predicted.decode_tok_s > 1.5 * ch.best_single_predicted.decode_tok_s);
	assert_int_equal(ch.reason[0][0], 0);
}

/* A card is worth the way of its partial sums over a quick link, and not over a slow one. */
static void a_card_behind_a_slow_link_is_dropped(void **state)
{
	(void)state;
	const llama m = small_model(2048);
	const evn_plan_shape s = shape_of(&m);
	evn_plan_candidate c[] = {device("0:0 pthread", 10, 0, 0), device("1:0 card", 10, 1, 1)};
	evn_choice ch;
	assert_int_equal(evn_plan_choose(&ch, &s, c, 2, EVN_DECODE, cost_of(30), NULL), EVN_OK);
	assert_true(ch.taken[0] && ch.taken[1]);
	assert_int_equal(evn_plan_choose(&ch, &s, c, 2, EVN_DECODE, cost_of(4000), NULL), EVN_OK);
	assert_true(ch.taken[0]);
	assert_says(&ch, 1, "1:0 card would make decoding slower: ");
}

/* The set that decodes fastest need not be the one that prefills fastest, or learns fastest. */
static void one_phase_or_the_other_counts(void **state)
{
	(void)state;
	const llama m = small_model(2048);
	const evn_plan_shape s = shape_of(&m);
	evn_plan_candidate c[] = {device("0:0 pthread", 10, 0, 0), device("1:0 intel", 8, 0, 1)};
	evn_choice ch;
	c[1].rates.gemm_gflops = 100;
	assert_int_equal(evn_plan_choose(&ch, &s, c, 2, EVN_DECODE, cost_of(20), NULL), EVN_OK);
	assert_true(ch.taken[0]);
	assert_int_equal(evn_plan_choose(&ch, &s, c, 2, EVN_PROMPT, cost_of(20), NULL), EVN_OK);
	assert_true(ch.taken[1]);
	assert_int_equal(ch.best_single, 1);
	assert_says(&ch, 0, "same chip as 1:0 intel, which is faster: ");

	c[0].device = c[1].device = 1;
	assert_int_equal(evn_plan_choose(&ch, &s, c, 2, EVN_PROMPT, cost_of(20), NULL), EVN_OK);
	assert_says(&ch, 0, "whole it would compute prompts slower: ");
}

static void reasons_carry_the_figures(void **state)
{
	(void)state;
	const llama m = small_model(2048);
	const evn_plan_shape s = shape_of(&m);
	evn_plan_candidate c[] = {device("0:0 pthread", 10, 0, 0), device("1:0 intel", 8, 0, 1)};
	evn_choice ch, alone;
	char expected[256];
	assert_int_equal(evn_plan_choose(&ch, &s, c, 2, EVN_DECODE, cost_of(20), NULL), EVN_OK);
	assert_int_equal(evn_plan_choose(&alone, &s, c + 1, 1, EVN_DECODE, cost_of(20), NULL), EVN_OK);
	snprintf(expected, sizeof expected, "same chip as 0:0 pthread, which is faster: %.1f against %.1f tokens/s alone",
			 ch.predicted.decode_tok_s, alone.predicted.decode_tok_s);
	assert_string_equal(ch.reason[1], expected);
}

static void parts_of_one_device_may_work_together(void **state)
{
	(void)state;
	const llama m = small_model(2048);
	const evn_plan_shape s = shape_of(&m);
	evn_plan_candidate c[] = {device("0:0/1@0", 10, 0, 0), device("0:0/1@1", 10, 0, 0)};
	evn_choice ch;
	assert_int_equal(evn_plan_choose(&ch, &s, c, 2, EVN_DECODE, cost_of(5), NULL), EVN_OK);
	assert_true(ch.taken[0] && ch.taken[1]);
}

/* A CPU as a whole, and as parts that together do `gain` times as much. */
static void whole_and_parts(evn_plan_candidate *c, double gain, uint32_t parts)
{
	c[0] = device("0:0", 10, 0, 0);
	c[1] = device("0:0/1+1", 10 * gain / parts, 0, 0);
	c[0].device = c[1].device = 1;
	c[1].parts = parts;
	c[1].reduce_cost.token_us = 5;
}

static void a_device_is_used_whole_or_in_parts(void **state)
{
	(void)state;
	const llama m = small_model(2048);
	const evn_plan_shape s = shape_of(&m);
	evn_plan_candidate c[3];
	evn_choice ch;
	whole_and_parts(c, 1.5, 2);
	assert_int_equal(evn_plan_choose(&ch, &s, c, 2, EVN_DECODE, cost_of(0), NULL), EVN_OK);
	assert_true(ch.taken[1]);
	assert_says(&ch, 0, "whole it would decode slower: ");
	assert_int_equal(ch.best_single, 0);
	assert_true(ch.predicted.decode_tok_s > ch.best_single_predicted.decode_tok_s);

	double alone = ch.predicted.decode_tok_s;
	c[1].reduce_cost.token_us = 35; /* its own all-reduces count, although it is the only candidate */
	assert_int_equal(evn_plan_choose(&ch, &s, c, 2, EVN_DECODE, cost_of(0), NULL), EVN_OK);
	assert_true(ch.taken[1]);
	assert_true(fabs(1e6 / ch.predicted.decode_tok_s - 1e6 / alone - evn_plan_n_blocks(&s) * 30) < 1e-3);
	c[1].reduce_cost.token_us = 500;
	assert_int_equal(evn_plan_choose(&ch, &s, c, 2, EVN_DECODE, cost_of(0), NULL), EVN_OK);
	assert_true(ch.taken[0]);
	assert_says(&ch, 1, "in parts it would decode slower: ");

	whole_and_parts(c, 1.5, 2);
	c[2] = device("1:0 other", 10, -1, 1);
	assert_int_equal(evn_plan_choose(&ch, &s, c, 3, EVN_DECODE, cost_of(5), NULL), EVN_OK);
	assert_true(!ch.taken[0] && ch.taken[1] && ch.taken[2]);

	/* a second driver of the chip: the parts must beat the best whole device, and nothing can join them */
	c[2].chip = 0;
	c[2].rates.gemv_gbs = c[2].rates.vocab_gbs = 30;
	assert_int_equal(evn_plan_choose(&ch, &s, c, 3, EVN_DECODE, cost_of(5), NULL), EVN_OK);
	assert_true(ch.taken[2]);
	assert_says(&ch, 1, "same chip as 1:0 other, which is faster: ");
}

static void parts_must_gain_two_percent_too(void **state)
{
	(void)state;
	const llama m = small_model(2048);
	const evn_plan_shape s = shape_of(&m);
	evn_plan_candidate c[2];
	evn_choice ch;
	bool seen = false;
	for (double gain = 0.9; gain < 1.5; gain += 0.005) {
		whole_and_parts(c, gain, 2);
		assert_int_equal(evn_plan_choose(&ch, &s, c, 2, EVN_DECODE, cost_of(0), NULL), EVN_OK);
		assert_true(ch.taken[0] != ch.taken[1]);
		if (ch.taken[1])
			assert_true(ch.predicted.decode_tok_s > 1.02 * ch.best_single_predicted.decode_tok_s);
		else
			seen |= strstr(ch.reason[1], "would gain less than the 2 % that several ranks must: ") != NULL;
	}
	assert_true(seen && ch.taken[1]);
}

static void parts_count_as_ranks(void **state)
{
	(void)state;
	const llama m = small_model(0);
	const evn_plan_shape s = shape_of(&m);
	evn_plan_candidate c[3];
	evn_choice ch;
	whole_and_parts(c, 2, 6);
	whole_and_parts(c + 1, 2, 6);
	c[1] = c[2];
	c[1].device = 2;
	c[1].chip = 1;
	c[2].device = 3;
	c[2].chip = 2;
	assert_int_equal(evn_plan_choose(&ch, &s, c, 3, EVN_DECODE, cost_of(1), NULL), EVN_OK);
	assert_false(ch.taken[1] && ch.taken[2]); /* twelve ranks */
	assert_true(ch.taken[1] || ch.taken[2]);
	assert_says(&ch, ch.taken[1] ? 2 : 1, "at most 8 devices take part");
}

static void several_must_gain_two_percent(void **state)
{
	(void)state;
	const llama m = small_model(2048);
	const evn_plan_shape s = shape_of(&m);
	evn_plan_candidate c[] = {device("0:0 a", 10, -1, 0), device("1:0 b", 10, -1, 1)};
	evn_choice ch;
	double single, gain, all_reduce_us = 0;
	bool seen = false;
	for (; all_reduce_us < 200; all_reduce_us += 0.5) {
		assert_int_equal(evn_plan_choose(&ch, &s, c, 2, EVN_DECODE, cost_of(all_reduce_us), NULL), EVN_OK);
		single = ch.best_single_predicted.decode_tok_s;
		gain = ch.predicted.decode_tok_s / single;
		if (!ch.taken[1]) {
			assert_true(gain == 1);
			seen |= strstr(ch.reason[1], "1:0 b would gain less than the 2 % that several devices must: ") != NULL;
			continue;
		}
		assert_true(gain > 1.02);
	}
	assert_true(seen);
	assert_says(&ch, 1, "would make decoding slower");
}

static void shares_of_zero_and_unknown_speeds_stay_out(void **state)
{
	(void)state;
	const llama m = small_model(2048);
	const evn_plan_shape s = shape_of(&m);
	evn_plan_candidate c[] = {device("0:0 a", 10, -1, 0), device("1:0 b", 10, -1, 1), device("2:0 c", NAN, -1, 2)};
	evn_choice ch;
	evn_error err;
	c[0].share = 0;
	assert_int_equal(evn_plan_choose(&ch, &s, c, 3, EVN_DECODE, cost_of(5), NULL), EVN_OK);
	assert_true(ch.taken[1]);
	assert_says(&ch, 0, "given a share of 0");
	assert_says(&ch, 2, "its speed is not known");
	c[1].share = 0;
	assert_int_equal(evn_plan_choose(&ch, &s, c, 3, EVN_DECODE, cost_of(5), &err), EVN_ERR_USAGE);
	assert_non_null(strstr(err.text, "none of 3 devices"));
	c[1].share = -2;
	assert_int_equal(evn_plan_choose(&ch, &s, c, 3, EVN_DECODE, cost_of(5), &err), EVN_ERR_USAGE);
	assert_non_null(strstr(err.text, "1:0 b is -2"));
	assert_int_equal(evn_plan_choose(&ch, &s, c, 0, EVN_DECODE, cost_of(5), &err), EVN_ERR_USAGE);
	assert_int_equal(evn_plan_choose(&ch, &s, c, EVN_MAX_CANDIDATES + 1, EVN_DECODE, cost_of(5), &err),
					 EVN_ERR_USAGE);
}

static void a_model_too_large_for_one_takes_two(void **state)
{
	(void)state;
	const llama m = small_model(2048);
	const evn_plan_shape s = shape_of(&m);
	evn_plan_candidate c[] = {device("0:0 a", 10, -1, 0), device("1:0 b", 1, -1, 1), device("2:0 c", 5, -1, 2)};
	evn_choice ch;
	evn_error err;
	for (uint32_t i = 0; i < 3; i++)
		c[i].memory_bytes = 120 * MIB;
	c[2].memory_bytes = s.fixed_bytes / 2;
	assert_int_equal(evn_plan_choose(&ch, &s, c, 3, EVN_DECODE, cost_of(1000), NULL), EVN_OK);
	assert_true(ch.taken[0] && ch.taken[1]);
	assert_true(ch.best_single_predicted.decode_tok_s == 0);
	assert_says(&ch, 2, "1.0 MiB are needed on each device");
	c[0].memory_bytes = c[1].memory_bytes = 60 * MIB;
	assert_int_equal(evn_plan_choose(&ch, &s, c, 3, EVN_DECODE, cost_of(1000), &err), EVN_ERR_LIMIT);
	assert_non_null(strstr(err.text, "2 devices may hold 118.0 MiB"));

	c[1].memory_bytes = GIB; /* the slow device can hold it alone, the fast one cannot */
	assert_int_equal(evn_plan_choose(&ch, &s, c, 3, EVN_DECODE, cost_of(1000), NULL), EVN_OK);
	assert_int_equal(ch.best_single, 1);
}

static void a_device_too_slow_for_one_part_is_dropped(void **state)
{
	(void)state;
	const llama m = small_model(2048);
	const evn_plan_shape s = shape_of(&m);
	evn_plan_candidate c[] = {device("0:0 a", 10, -1, 0), device("1:0 b", 10, -1, 1), device("2:0 c", 1e-4, -1, 2)};
	evn_choice ch;
	assert_int_equal(evn_plan_choose(&ch, &s, c, 3, EVN_DECODE, cost_of(5), NULL), EVN_OK);
	assert_true(ch.taken[0] && ch.taken[1]);
	assert_says(&ch, 2, "2:0 c is too slow beside the others: no whole part of the model falls to it");
}

static void at_most_eight_ranks_of_sixteen_candidates(void **state)
{
	(void)state;
	llama m = small_model(0);
	m.n_layers = 80;
	m.ff_grain = 1;
	m.n_heads = m.n_kv_heads = 64;
	const evn_plan_shape s = shape_of(&m);
	evn_plan_candidate c[EVN_MAX_CANDIDATES];
	evn_choice ch;
	uint32_t n_taken = 0;
	for (int i = 0; i < EVN_MAX_CANDIDATES; i++) {
		c[i] = device("dev", i % 2 ? 10 : 9, -1, i);
		c[i].rates.block_us = 0;
	}
	assert_int_equal(evn_plan_choose(&ch, &s, c, EVN_MAX_CANDIDATES, EVN_DECODE, cost_of(0), NULL), EVN_OK);
	for (uint32_t i = 0; i < EVN_MAX_CANDIDATES; i++) {
		assert_int_equal(ch.taken[i], i % 2);
		n_taken += ch.taken[i];
	}
	assert_int_equal(n_taken, EVN_MAX_RANKS);
	assert_says(&ch, 0, "at most 8 devices");
}

/* A device that is used only in parts, and a model with fewer units than the device has parts. */
static void a_model_too_small_for_every_set_is_refused(void **state)
{
	(void)state;
	const llama m = {.dim = 64, .vocab = 2, .vocab_grain = 1, .vocab_row_bytes = 100};
	const evn_plan_shape s = shape_of(&m);
	evn_plan_candidate c = device("0:0/1+1", 10, 0, 0);
	evn_choice ch;
	evn_error err = {0};
	c.parts = 4;
	assert_int_equal(evn_plan_choose(&ch, &s, &c, 1, EVN_DECODE, cost_of(5), &err), EVN_ERR_LIMIT);
	assert_non_null(strstr(err.text, "4 ranks cannot share the model"));
	c.parts = 2;
	assert_int_equal(evn_plan_choose(&ch, &s, &c, 1, EVN_DECODE, cost_of(5), NULL), EVN_OK);
	assert_true(ch.taken[0]);
}

/* ---- against a search by hand ---------------------------------------------------------------------------------- */

static uint32_t ranks_of(const evn_plan_candidate *c, uint32_t n, uint32_t mask)
{
	uint32_t ranks = 0;
	for (uint32_t i = 0; i < n; i++)
		ranks += !(mask >> i & 1) ? 0 : c[i].parts ? c[i].parts : 1;
	return ranks;
}

static bool set_is_allowed(const evn_plan_candidate *c, uint32_t n, uint32_t mask)
{
	for (uint32_t i = 0; i < n; i++)
		for (uint32_t j = 0; j < i; j++)
			if ((mask >> i & 1) && (mask >> j & 1) &&
				((c[i].chip >= 0 && c[i].chip == c[j].chip && c[i].driver != c[j].driver) ||
				 (c[i].device && c[i].device == c[j].device)))
				return false;
	return ranks_of(c, n, mask) <= EVN_MAX_RANKS;
}

static double decode_of(const evn_plan_shape *s, const evn_plan_candidate *c, uint32_t n, uint32_t mask, double us)
{
	evn_plan_candidate members[EVN_MAX_RANKS];
	double shares[EVN_MAX_RANKS];
	uint64_t memory[EVN_MAX_RANKS];
	uint32_t n_members = 0;
	evn_split split;
	us = mask & (mask - 1) ? us : 0;
	for (uint32_t i = 0; i < n; i++)
		for (uint32_t part = 0; (mask >> i & 1) && part < ranks_of(c, n, 1u << i); part++) {
			us = c[i].parts > 1 ? fmax(us, c[i].reduce_cost.token_us) : us;
			memory[n_members] = c[i].memory_bytes;
			members[n_members++] = c[i];
		}
	assert_int_equal(evn_plan_shares(shares, NULL, members, n_members, NULL), EVN_OK);
	if (evn_split_make(&split, s, n_members, shares, NULL, memory, NULL) != EVN_OK)
		return 0;
	double tok_s = evn_predict(&split, members, cost_of(us)).decode_tok_s;
	evn_split_free(&split);
	return tok_s;
}

static void check_choice(const evn_choice *ch, const evn_plan_shape *s, const evn_plan_candidate *c, uint32_t n,
						 double us)
{
	uint32_t taken = 0, n_taken = 0;
	double best = 0, best_single = 0;
	for (uint32_t i = 0; i < n; i++) {
		taken |= (uint32_t)ch->taken[i] << i;
		assert_true(ch->taken[i] == (ch->reason[i][0] == 0));
		if (c[i].parts <= 1)
			best_single = fmax(best_single, decode_of(s, c, n, 1u << i, us));
	}
	for (uint32_t mask = 1; mask < 1u << n; mask++)
		if (set_is_allowed(c, n, mask))
			best = fmax(best, decode_of(s, c, n, mask, us));
	n_taken = ranks_of(c, n, taken);
	double got = decode_of(s, c, n, taken, us);
	assert_true(set_is_allowed(c, n, taken));
	assert_true(got == ch->predicted.decode_tok_s);
	assert_true(ch->best_single_predicted.decode_tok_s >= 0.99 * best_single);
	assert_true(got >= 0.99 * best || (n_taken == 1 && best <= best_single * 1.0304));
	assert_true(n_taken == 1 || got > 1.02 * ch->best_single_predicted.decode_tok_s);
}

static void the_choice_is_the_best_allowed_set(void **state)
{
	(void)state;
	uint64_t random = 3;
	int n_single = 0, n_several = 0;
	for (int k = 0; k < 400; k++) {
		llama m = small_model(random_in(&random, 0, 2048));
		m.n_layers = random_in(&random, 1, 12);
		const evn_plan_shape s = shape_of(&m);
		evn_plan_candidate c[5];
		uint32_t n = random_in(&random, 1, 5), n_taken = 0;
		double us = random_in(&random, 0, 60);
		for (uint32_t i = 0; i < n; i++) {
			c[i] = device("dev", random_in(&random, 1, 300) * 0.1, (int)random_in(&random, 0, 3) - 1,
						  (int)random_in(&random, 0, 2));
			c[i].rates.block_us = random_in(&random, 0, 30) / 2.0;
			c[i].rates.gemm_gflops = random_in(&random, 1, 100);
			c[i].memory_bytes = random_in(&random, 20, 90) * MIB;
			c[i].parts = random_in(&random, 0, 6) ? 1 : random_in(&random, 2, 5);
			c[i].reduce_cost = cost_of(random_in(&random, 0, 60));
			c[i].device = (int)random_in(&random, 0, 3);
		}
		evn_choice ch;
		evn_status status = evn_plan_choose(&ch, &s, c, n, EVN_DECODE, cost_of(us), NULL);
		if (status == EVN_ERR_LIMIT)
			continue;
		assert_int_equal(status, EVN_OK);
		check_choice(&ch, &s, c, n, us);
		for (uint32_t i = 0; i < n; i++)
			n_taken += ch.taken[i] ? c[i].parts : 0;
		n_single += n_taken == 1;
		n_several += n_taken > 1;
	}
	assert_true(n_single > 50 && n_several > 50);
}

/* ---- share vectors --------------------------------------------------------------------------------------------- */

static void given_shares_are_kept_and_others_measured(void **state)
{
	(void)state;
	evn_plan_candidate c[] = {device("0:0", 10, -1, 0), device("1:0", 30, -1, 1), device("2:0", 5, -1, 2)};
	double shares[3];
	evn_error err;
	assert_int_equal(evn_plan_shares(shares, NULL, c, 3, NULL), EVN_OK);
	assert_true(shares[1] == 3 * shares[0] && shares[0] == 2 * shares[2]);
	c[1].share = 6; /* 0.2 per GB/s */
	assert_int_equal(evn_plan_shares(shares, NULL, c, 3, NULL), EVN_OK);
	assert_true(shares[0] == 2 && shares[1] == 6 && shares[2] == 1);
	c[1].share = 0;
	assert_int_equal(evn_plan_shares(shares, NULL, c, 3, NULL), EVN_OK);
	assert_true(shares[1] == 0 && shares[0] == 2 * shares[2]);
	c[0].share = 5;
	c[0].rates.gemv_gbs = 0;
	assert_int_equal(evn_plan_shares(shares, NULL, c, 3, &err), EVN_ERR_USAGE);
	assert_non_null(strstr(err.text, "some shares are automatic"));
	c[2].share = 1; /* no share is automatic, so no rate is needed */
	assert_int_equal(evn_plan_shares(shares, NULL, c, 3, NULL), EVN_OK);
	assert_true(shares[0] == 5 && shares[1] == 0 && shares[2] == 1);
}

static void prompts_follow_arithmetic(void **state)
{
	(void)state;
	evn_plan_candidate c[] = {device("0:0", 10, -1, 0), device("1:0", 30, -1, 1)};
	double shares[2], prompts[2];
	c[0].rates.gemm_gflops = 50;
	c[1].rates.gemm_gflops = 500;
	assert_int_equal(evn_plan_shares(shares, prompts, c, 2, NULL), EVN_OK);
	assert_true(shares[1] == 3 * shares[0] && prompts[1] == 10 * prompts[0]);
	c[0].prompt_share = 2; /* 0.04 per GFLOP/s */
	assert_int_equal(evn_plan_shares(shares, prompts, c, 2, NULL), EVN_OK);
	assert_true(shares[1] == 3 * shares[0] && prompts[0] == 2 && prompts[1] == 20);
	c[0].prompt_share = EVN_SHARE_AUTO;
	c[0].share = c[1].share = 4; /* given once, for both phases */
	assert_int_equal(evn_plan_shares(shares, prompts, c, 2, NULL), EVN_OK);
	assert_true(shares[0] == shares[1] && prompts[0] == prompts[1]);
	c[1].prompt_share = 0;
	assert_int_equal(evn_plan_shares(shares, prompts, c, 2, NULL), EVN_OK);
	assert_true(shares[0] == shares[1] && prompts[0] == 4 && prompts[1] == 0);
	c[0].share = c[1].share = c[1].prompt_share = EVN_SHARE_AUTO;
	c[1].rates.gemm_gflops = 0; /* unknown: the decode shares are used */
	assert_int_equal(evn_plan_shares(shares, prompts, c, 2, NULL), EVN_OK);
	assert_true(prompts[0] == shares[0] && prompts[1] == shares[1]);
}

static void wrong_shares_are_refused(void **state)
{
	(void)state;
	evn_plan_candidate c[] = {device("0:0", 10, -1, 0), device("1:0", 0, -1, 1)};
	double shares[2];
	evn_error err;
	assert_int_equal(evn_plan_shares(shares, NULL, c, 2, &err), EVN_ERR_USAGE);
	assert_non_null(strstr(err.text, "device 1:0 is automatic, but its speed is not known"));
	c[1].share = NAN;
	assert_int_equal(evn_plan_shares(shares, NULL, c, 2, &err), EVN_ERR_USAGE);
	assert_non_null(strstr(err.text, "device 1:0 is "));
	c[0].share = c[1].share = 0;
	assert_int_equal(evn_plan_shares(shares, NULL, c, 2, &err), EVN_ERR_USAGE);
	assert_non_null(strstr(err.text, "every device has a share of 0"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_twin_driver_and_the_slow_device_are_dropped),
		cmocka_unit_test(a_card_behind_a_slow_link_is_dropped),
		cmocka_unit_test(one_phase_or_the_other_counts),
		cmocka_unit_test(reasons_carry_the_figures),
		cmocka_unit_test(parts_of_one_device_may_work_together),
		cmocka_unit_test(a_device_is_used_whole_or_in_parts),
		cmocka_unit_test(parts_must_gain_two_percent_too),
		cmocka_unit_test(parts_count_as_ranks),
		cmocka_unit_test(several_must_gain_two_percent),
		cmocka_unit_test(shares_of_zero_and_unknown_speeds_stay_out),
		cmocka_unit_test(a_model_too_large_for_one_takes_two),
		cmocka_unit_test(a_device_too_slow_for_one_part_is_dropped),
		cmocka_unit_test(at_most_eight_ranks_of_sixteen_candidates),
		cmocka_unit_test(a_model_too_small_for_every_set_is_refused),
		cmocka_unit_test(the_choice_is_the_best_allowed_set),
		cmocka_unit_test(given_shares_are_kept_and_others_measured),
		cmocka_unit_test(prompts_follow_arithmetic),
		cmocka_unit_test(wrong_shares_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
