/* Facts of kernels: lines that are read and merged, and the rates of a model that follow from its mix of formats. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/facts.h"

static const char lines[] = "0\tproduct/Q4_1/3/gbs\t10\n0\tproduct/Q4_1/3/prompt\t40\n"
							"0\tproduct/Q6_K/3/gbs\t5\n0\tproduct/Q6_K/3/prompt\t20\n"
							"0\tproduct/Q4_1/0/gbs\t6\n0\tproduct/Q4_1/0/prompt\t50\n"
							"0\tproduct/Q6_K/0/gbs\t9\n0\tproduct/Q6_K/0/prompt\t10\n"
							"1\tproduct/F16/0/gbs\t12\n1\tproduct/F16/0/prompt\t30\n1\tgemm/F16\t60\n"
							"0\treduce/3/token\t7\n0\treduce/3/prompt\t900\n"
							"0\ttrial/taken\t1796007707\n0\ttrial/others\t0.5\n"
							"0\tmodel/ab\t1\n0\tfault/ab\t-\n"
							"0\tmodel/cd\t0\n0\tfault/cd\tmatvec is wrong\n0\tlate/cd\t1\n";

static size_t format(const char *name) { return evn_quant_index(evn_quant_by_name(name)); }

static void test_lines_are_read(void **state)
{
	(void)state;
	static evn_facts f;
	evn_facts_parse(&f, lines, 0xab);
	assert_true(f.ranks[0].products[format("Q4_1")][EVN_DOT_AVX2].gbs == 10);
	assert_true(f.ranks[1].gemm_gflops[format("F16")] == 60);
	assert_true(f.reduce[EVN_REDUCE_FLAGS].token_us == 7 && f.reduce[EVN_REDUCE_FLAGS].prompt_us == 900);
	assert_true(f.trial.taken_s == 1796007707 && f.trial.others == 0.5 && f.steps.taken_s == 0);
	assert_true(f.knows_model && !f.fault[0] && f.late == 0);
	evn_facts_parse(&f, lines, 0xcd); /* another model, whose kernel was wrong */
	assert_true(!f.knows_model && f.late == 1);
	assert_string_equal(f.fault, "matvec is wrong");
	evn_facts_parse(&f, lines, 0xef); /* a model that was not seen yet */
	assert_true(!f.knows_model && !f.fault[0] && f.late == 0);
}

/* A file on disk may hold anything. */
static void test_other_lines_are_ignored(void **state)
{
	(void)state;
	static const char *const texts[] = {"",
										"\n\n\t\t\n",
										"0\tproduct/Q4_1/3/gbs\t-1\n",
										"0\tproduct/Q4_1/3/gbs\tnan\n",
										"0\tproduct/Q4_1/99/gbs\t1\n",
										"0\tproduct/NO_SUCH/3/gbs\t1\n",
										"0\tproduct/Q4_1/3/\t1\n",
										"99\tlaunch_us\t1\n",
										"0\treduce/9/token\t1\n",
										"0\tlaunch_us",
										"0\tfault/zz\tx\n"};
	static const evn_facts none;
	static evn_facts f;
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		evn_facts_parse(&f, texts[i], 0xab);
		assert_memory_equal(&f, &none, sizeof f);
	}
}

static void test_new_lines_replace_old_ones(void **state)
{
	(void)state;
	char *merged =
		evn_facts_merge("0\tlaunch_us\t5\n1\tlaunch_us\t6\n0\tmap_us\t7\n", "1\tlaunch_us\t8\n0\tgemm/F16\t9\n");
	assert_string_equal(merged, "0\tlaunch_us\t5\n0\tmap_us\t7\n1\tlaunch_us\t8\n0\tgemm/F16\t9\n");
	free(merged);
}

static void expect(double got, double want) { assert_true(fabs(got - want) <= 1e-12 * want); }

/* Times of formats add up. The dot kind is one for all formats: the one with the shortest time. */
static void test_rates_of_a_mix(void **state)
{
	(void)state;
	static evn_facts f;
	evn_weight_mix mix = {.head = format("Q6_K")};
	evn_model_rates r;
	evn_facts_parse(&f, lines, 0xab);
	mix.bytes[format("Q4_1")] = 300;
	mix.bytes[format("Q6_K")] = 100;
	mix.macs[format("Q4_1")] = mix.macs[format("Q6_K")] = 200;
	assert_true(evn_facts_rates(&f.ranks[0], &mix, EVN_ACTIVATIONS_AUTO, &r));
	assert_int_equal(r.dot, EVN_DOT_AVX2); /* 300 / 10 + 100 / 5 is less than 300 / 6 + 100 / 9 */
	expect(r.gbs, 400 / 50.0);
	expect(r.prompt_gflops, 800 / (400 / 40.0 + 400 / 20.0));
	assert_true(!r.gemm && r.gemm_gflops == r.prompt_gflops && r.head_gbs == 5);
	assert_true(evn_facts_rates(&f.ranks[0], &mix, EVN_ACTIVATIONS_F32, &r)); /* as asked for, though it is slower */
	assert_int_equal(r.dot, EVN_DOT_NONE);
	expect(r.gbs, 400 / (300 / 6.0 + 100 / 9.0));
	assert_false(evn_facts_rates(&f.ranks[1], &mix, EVN_ACTIVATIONS_AUTO, &r)); /* its formats were not measured */
}

/* With 1 lane prompts are computed by the faster of two kernels. Both must be known for every format. */
static void test_blocks_with_one_lane(void **state)
{
	(void)state;
	static const char alike[] =
		"0\tproduct/Q4_1/11/gbs\t10\n0\tproduct/Q4_1/11/prompt\t40\n0\tproduct/Q4_1/11/block\t100\n"
		"0\tproduct/Q6_K/11/gbs\t10\n0\tproduct/Q6_K/11/prompt\t20\n";
	static evn_facts f;
	evn_weight_mix mix = {.head = format("Q4_1")};
	mix.bytes[format("Q4_1")] = mix.macs[format("Q4_1")] = 1;
	evn_model_rates r;
	evn_facts_parse(&f, alike, 0xab);
	assert_true(evn_facts_rates(&f.ranks[0], &mix, EVN_ACTIVATIONS_AUTO, &r));
	assert_int_equal(r.dot, EVN_DOT_DP4A);
	expect(r.prompt_gflops, 100);
	expect(r.block_cost, 0.4);
	mix.bytes[format("Q6_K")] = mix.macs[format("Q6_K")] = 1;
	assert_true(evn_facts_rates(&f.ranks[0], &mix, EVN_ACTIVATIONS_AUTO, &r));
	expect(r.prompt_gflops, 4 / (2 / 40.0 + 2 / 20.0));
	assert_true(r.block_cost == 0);
}

/* Floats are multiplied by f32 activations, whatever is asked for. */
static void test_rates_of_floats(void **state)
{
	(void)state;
	static evn_facts f;
	evn_weight_mix mix = {.head = format("F16")};
	evn_model_rates r;
	evn_facts_parse(&f, lines, 0xab);
	mix.bytes[format("F16")] = 1000;
	mix.macs[format("F16")] = 500;
	assert_true(evn_facts_rates(&f.ranks[1], &mix, EVN_ACTIVATIONS_Q8, &r));
	assert_true(r.dot == EVN_DOT_NONE && r.gemm);
	expect(r.gbs, 12);
	expect(r.prompt_gflops, 30);
	expect(r.gemm_gflops, 60);
}

/* Steps were measured with another model: its products say how much faster this one is. */
static void test_steps_are_scaled(void **state)
{
	(void)state;
	static evn_facts f;
	evn_weight_mix mix = {.head = format("Q4_1")};
	evn_model_rates r;
	char *all = evn_facts_merge(lines, "0\tsteps/gbs\t8\n0\tsteps/gflops\t30\n0\tsteps/vocab_gbs\t9\n"
									   "0\tsteps/block_us\t4\n0\tsteps_of/gbs\t5\n0\tsteps_of/prompt\t20\n"
									   "0\tsteps_of/head_gbs\t5\n");
	evn_facts_parse(&f, all, 0xab);
	free(all);
	mix.bytes[format("Q4_1")] = mix.macs[format("Q4_1")] = 1;
	assert_true(evn_facts_rates(&f.ranks[0], &mix, EVN_ACTIVATIONS_AUTO, &r));
	expect(r.steps.gemv_gbs, 8 * 10 / 5.0);
	expect(r.steps.gemm_gflops, 30 * 40 / 20.0);
	expect(r.steps.vocab_gbs, 9 * 10 / 5.0);
	expect(r.steps.block_us, 4); /* of a block, whatever its weights */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines_are_read),
		cmocka_unit_test(test_other_lines_are_ignored),
		cmocka_unit_test(test_new_lines_replace_old_ones),
		cmocka_unit_test(test_rates_of_a_mix),
		cmocka_unit_test(test_blocks_with_one_lane),
		cmocka_unit_test(test_rates_of_floats),
		cmocka_unit_test(test_steps_are_scaled),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
