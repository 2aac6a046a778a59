/* test_predict.c - compares predicted speeds with sums done by hand. */
#include "plan/shapes.h"

#include <math.h>

/* A layer of two blocks costs layer_us for one token, and a hundredth of it for each token of a prompt. */
static evn_plan_candidate rank_of(double gbs, double gflops, double layer_us)
{
	return (evn_plan_candidate){.name = "rank",
								.id = "0:0",
								.rates = {.gemv_gbs = gbs,
										  .gemm_gflops = gflops,
										  .vocab_gbs = gbs,
										  .block_us = layer_us / 2,
										  .block_row_us = layer_us / 200},
								.chip = -1};
}

/* An all-reduce of a prompt takes a hundred times as long as one of a token. */
static evn_reduce_cost cost_of(double us) { return (evn_reduce_cost){us, 100 * us}; }

static evn_prediction predict(const evn_plan_shape *s, double share0, double share1, const evn_plan_candidate *c,
							  double all_reduce_us)
{
	evn_split split = split_of(s, 2, (double[]){share0, share1}, NULL);
	evn_prediction p = evn_predict(&split, c, cost_of(all_reduce_us));
	evn_split_free(&split);
	return p;
}

static evn_plan_step token_at(uint32_t position) { return (evn_plan_step){EVN_DECODE, 1, position}; }
static evn_plan_step prompt_at(uint32_t position) { return (evn_plan_step){EVN_PROMPT, 100, position}; }

static void assert_close(double a, double b) { assert_true(fabs(a - b) <= 1e-9 * fabs(b)); }

/* Ten layers that can be halved without a remainder: 4 heads over 4 KV heads. */
static llama even_model(void)
{
	return (llama){.n_layers = 10,
				   .dim = 256,
				   .ff_dim = 1000,
				   .n_heads = 4,
				   .n_kv_heads = 4,
				   .head_dim = 64,
				   .vocab = 2000,
				   .ff_grain = 1,
				   .vocab_grain = 1,
				   .head_bytes = 20000,
				   .kv_head_bytes = 30000,
				   .ff_unit_bytes = 500,
				   .vocab_row_bytes = 100};
}

static void one_rank_reads_everything(void **state)
{
	(void)state;
	const llama m = even_model();
	const evn_plan_shape s = shape_of(&m);
	evn_plan_candidate c[2] = {rank_of(2, 8, 3), rank_of(0, 0, 0)};
	evn_prediction p = predict(&s, 1, 0, c, 1000);
	double bytes = 10 * (4 * 20000 + 4 * 30000 + 1000 * 500) + 2000 * 100;
	assert_close(1 / p.decode_tok_s, bytes / 2e9 + 10 * 3e-6);
	double flops = 2.0 * 10 * (4 * 2 * 256 * 64 + 4 * 2 * 256 * 64 + 1000 * 3 * 256);
	assert_close(1 / p.prefill_tok_s, flops / 8e9 + 10 * 3e-8 + 2000 * 100 / 2e9 / 512);
}

static void the_slowest_rank_sets_the_pace(void **state)
{
	(void)state;
	const llama m = even_model();
	const evn_plan_shape s = shape_of(&m);
	evn_plan_candidate c[2] = {rank_of(4, 8, 0), rank_of(1, 16, 0)};
	evn_prediction p = predict(&s, 1, 1, c, 25);
	double bytes = 10 * (4 * 20000 + 4 * 30000 + 1000 * 500) + 2000 * 100;
	assert_close(1 / p.decode_tok_s, bytes / 2 / 1e9 + 20 * 25e-6);
	double flops = 2.0 * 10 * (4 * 2 * 256 * 64 + 4 * 2 * 256 * 64 + 1000 * 3 * 256);
	assert_close(1 / p.prefill_tok_s, flops / 2 / 8e9 + (20 * 2500e-6 + 2000 * 100 / 2 / 1e9) / 512);
}

/* Two equal ranks. Their attention takes 20 ns for each key of one token, 10 ns for a prompt; c[2]. */
static evn_split attending_halves(const evn_plan_shape *s, evn_plan_candidate *c)
{
	c[0] = rank_of(2, 8, 3);
	c[0].rates.key_ns = 20;
	c[0].rates.prompt_key_ns = 10;
	c[1] = c[0];
	return split_of(s, 2, (double[]){1, 1}, NULL);
}

static void attention_grows_with_what_is_cached(void **state)
{
	(void)state;
	const llama m = even_model();
	const evn_plan_shape s = shape_of(&m);
	evn_plan_candidate c[2];
	evn_split split = attending_halves(&s, c);
	double early = evn_predict_blocks_s(&split, c, token_at(0), cost_of(0));
	double late = evn_predict_blocks_s(&split, c, token_at(1000), cost_of(0));
	assert_close(late - early, 10 * 2 * 1000 * 20e-9); /* layers, heads of a rank, positions */
	early = evn_predict_blocks_s(&split, c, prompt_at(0), cost_of(0));
	late = evn_predict_blocks_s(&split, c, prompt_at(1000), cost_of(0));
	assert_close(late - early, 10 * 2 * 100 * 1000 * 10e-9);
	evn_split_free(&split);
}

/* Steps of one phase take 1 / by of their time. Those of the other phase are unchanged. */
static void sped_up_rates_make_steps_shorter(void **state)
{
	(void)state;
	const llama m = even_model();
	const evn_plan_shape s = shape_of(&m);
	evn_plan_candidate c[2];
	evn_split split = attending_halves(&s, c);
	double token = evn_predict_blocks_s(&split, c, token_at(50), cost_of(0));
	double prompt = evn_predict_blocks_s(&split, c, prompt_at(50), cost_of(0));
	double vocab = evn_predict_vocab_s(&split, c);
	for (int i = 0; i < 2; i++)
		evn_rates_speed_up(&c[i].rates, EVN_DECODE, 1.25);
	assert_close(evn_predict_blocks_s(&split, c, token_at(50), cost_of(0)), token / 1.25);
	assert_close(evn_predict_vocab_s(&split, c), vocab / 1.25);
	assert_close(evn_predict_blocks_s(&split, c, prompt_at(50), cost_of(0)), prompt);
	for (int i = 0; i < 2; i++)
		evn_rates_speed_up(&c[i].rates, EVN_PROMPT, 1.25);
	assert_close(evn_predict_blocks_s(&split, c, prompt_at(50), cost_of(0)), prompt / 1.25);
	evn_split_free(&split);
}

/* Decode time follows the decode units, prefill time the prefill units. Here rank 1 has no units in one phase and all
 * in the other. */
static void each_phase_has_its_own_shares(void **state)
{
	(void)state;
	const llama m = even_model();
	const evn_plan_shape s = shape_of(&m);
	evn_plan_candidate c[2] = {rank_of(2, 8, 0), rank_of(1, 16, 0)};
	evn_split split = split_of(&s, 2, (double[]){1, 0}, (double[]){0, 1});
	evn_prediction p = evn_predict(&split, c, cost_of(25));
	double bytes = 10 * (4 * 20000 + 4 * 30000 + 1000 * 500) + 2000 * 100;
	assert_close(1 / p.decode_tok_s, bytes / 2e9 + 20 * 25e-6);
	double heads = 2.0 * 10 * (4 * 2 * 256 * 64 + 4 * 2 * 256 * 64), ff = 2.0 * 10 * 1000 * 3 * 256;
	assert_close(1 / p.prefill_tok_s, heads / 8e9 + ff / 16e9 + (20 * 2500e-6 + 2000 * 100 / 2e9) / 512);
	assert_close(evn_split_share(&split, 1, EVN_DECODE), 0);
	assert_close(evn_split_share(&split, 1, EVN_PROMPT), 10 * 1000 * 500 / bytes);
	evn_split_free(&split);
}

/* The time of a phase is that of its own slowest rank. With one head, one rank has all attention, and both share the
 * rest. */
static void each_phase_has_its_own_slowest_rank(void **state)
{
	(void)state;
	llama m = even_model();
	m.n_layers = m.n_heads = m.n_kv_heads = 1;
	const evn_plan_shape s = shape_of(&m);
	evn_plan_candidate c[2] = {rank_of(4, 8, 0), rank_of(1, 16, 0)};
	evn_prediction p = predict(&s, 3, 1, c, 0); /* rank 0 has the head, 3/4 of the rest */
	assert_close(1 / p.decode_tok_s, 50000 / 4e9 + 250 * 500 / 1e9 + 500 * 100 / 1e9);
}

static void a_straddling_kv_head_is_read_twice(void **state)
{
	(void)state;
	llama m = even_model();
	m.n_kv_heads = 1;
	const evn_plan_shape s = shape_of(&m);
	evn_split split = split_of(&s, 2, (double[]){1, 1}, NULL);
	evn_plan_candidate c[2] = {rank_of(1, 1, 0), rank_of(1, 1, 0)};
	assert_close(1 / evn_predict(&split, c, cost_of(0)).decode_tok_s,
				 (10 * (2 * 20000 + 30000 + 500 * 500) + 1000 * 100) / 1e9);
	assert_close(evn_split_share(&split, 0, EVN_DECODE), 0.5);
	evn_split_free(&split);
}

static void a_rank_without_a_known_rate_never_ends(void **state)
{
	(void)state;
	const llama m = even_model();
	const evn_plan_shape s = shape_of(&m);
	evn_plan_candidate c[2] = {rank_of(4, 8, 0), rank_of(NAN, 0, 0)};
	evn_prediction p = predict(&s, 1, 1, c, 0);
	assert_true(p.decode_tok_s == 0 && p.prefill_tok_s == 0);
}

static void shares_in_proportion_to_speed_are_the_best(void **state)
{
	(void)state;
	llama m = small_model(2048);
	m.ff_grain = m.vocab_grain = 1;
	const evn_plan_shape s = shape_of(&m);
	evn_plan_candidate c[2] = {rank_of(10, 50, 1), rank_of(5, 25, 1)};
	for (uint32_t i = 0; i < 2; i++)
		c[i].share = EVN_SHARE_AUTO;
	double shares[2];
	assert_int_equal(evn_plan_shares(shares, NULL, c, 2, NULL), EVN_OK);
	double best = predict(&s, shares[0], shares[1], c, 10).decode_tok_s;
	for (int k = 1; k < 20; k++)
		assert_true(best >= predict(&s, k, 20 - k, c, 10).decode_tok_s);
	assert_true(best > predict(&s, 1, 0, c, 10).decode_tok_s);
}

static void without_layers_a_prompt_costs_its_logits(void **state)
{
	(void)state;
	const llama m = {.dim = 5, .vocab = 10, .vocab_grain = 1, .vocab_row_bytes = 100};
	const evn_plan_shape s = shape_of(&m);
	evn_plan_candidate c[2] = {rank_of(1, 1, 0), rank_of(1, 1, 0)};
	evn_prediction p = predict(&s, 1, 1, c, 1000); /* 500 bytes at 1 GB/s, no all-reduces */
	assert_true(fabs(p.decode_tok_s - 2e6) < 1 && p.prefill_tok_s == EVN_PLAN_PROMPT * p.decode_tok_s);
}

static void sub_sequences_go_to_whoever_has_them_done_first(void **state)
{
	(void)state;
	const llama m = even_model();
	const evn_plan_shape s = shape_of(&m);
	evn_plan_candidate c[3] = {rank_of(1, 30, 0), rank_of(1, 10, 0), rank_of(1, 0, 0)};
	double tok_s[3], together, alone = predict(&s, 1, 0, c, 0).prefill_tok_s;
	assert_int_equal(evn_predict_sequences(tok_s, &together, &s, c, 3, 4, NULL), EVN_OK);
	assert_close(tok_s[0], alone);
	assert_true(tok_s[0] > 2.5 * tok_s[1] && tok_s[2] == 0);
	assert_true(together > alone && together <= tok_s[0] + tok_s[1]);
	assert_int_equal(evn_predict_sequences(tok_s, &together, &s, c, 3, 1, NULL), EVN_OK);
	assert_close(together, alone); /* one unit cannot be divided */
	assert_int_equal(evn_predict_sequences(tok_s, &together, &s, c, 3, 100000, NULL), EVN_OK);
	assert_true(fabs(together / (tok_s[0] + tok_s[1]) - 1) < 1e-3);
	assert_int_equal(evn_predict_sequences(tok_s, &together, &s, c + 2, 1, 5, NULL), EVN_OK);
	assert_true(together == 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_rank_reads_everything),
		cmocka_unit_test(the_slowest_rank_sets_the_pace),
		cmocka_unit_test(attention_grows_with_what_is_cached),
		cmocka_unit_test(sped_up_rates_make_steps_shorter),
		cmocka_unit_test(each_phase_has_its_own_shares),
		cmocka_unit_test(each_phase_has_its_own_slowest_rank),
		cmocka_unit_test(a_straddling_kv_head_is_read_twice),
		cmocka_unit_test(a_rank_without_a_known_rate_never_ends),
		cmocka_unit_test(shares_in_proportion_to_speed_are_the_best),
		cmocka_unit_test(without_layers_a_prompt_costs_its_logits),
		cmocka_unit_test(sub_sequences_go_to_whoever_has_them_done_first),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
