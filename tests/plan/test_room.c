/* test_room.c - ranks without memory of their own divide the host's memory, and never hold more than it together. */
#include "plan/shapes.h"

static evn_plan_candidate rank(double gbs, uint64_t memory_bytes, uint64_t host_bytes)
{
	return (evn_plan_candidate){.rates = {.gemv_gbs = gbs, .gemm_gflops = 5 * gbs, .vocab_gbs = gbs},
								.memory_bytes = memory_bytes,
								.host_bytes = host_bytes,
								.share = EVN_SHARE_AUTO,
								.prompt_share = EVN_SHARE_AUTO,
								.chip = -1};
}

static void the_host_is_divided_by_shares(void **state)
{
	(void)state;
	evn_plan_shape s = {.n_classes = 1, .fixed_bytes = 10 * MIB, .peer_bytes = 0};
	const evn_plan_candidate c[] = {rank(3, GIB, 100 * MIB), rank(1, GIB, 100 * MIB), rank(9, 40 * MIB, 0)};
	uint64_t memory[3];
	evn_plan_memory(memory, &s, c, (double[]){3, 1, 9}, 3);
	assert_int_equal(memory[0], 70 * MIB); /* 10, and 3 / 4 of the other 80 */
	assert_int_equal(memory[1], 30 * MIB);
	assert_int_equal(memory[2], 40 * MIB);
	evn_plan_memory(memory, &s, c, (double[]){1, 0, 9}, 3); /* a rank without a share leaves its part to others */
	assert_int_equal(memory[0], 100 * MIB);
	s.fixed_bytes = 60 * MIB; /* more than there is for both */
	evn_plan_memory(memory, &s, c, (double[]){1, 1, 1}, 3);
	assert_int_equal(memory[0], 50 * MIB);
	assert_int_equal(memory[1], 50 * MIB);
}

static void a_limit_of_its_own_counts_too(void **state)
{
	(void)state;
	const evn_plan_shape s = {.n_classes = 1};
	const evn_plan_candidate c[] = {rank(1, 20 * MIB, 100 * MIB), rank(1, GIB, 100 * MIB)};
	uint64_t memory[2];
	evn_plan_memory(memory, &s, c, (double[]){1, 1}, 2);
	assert_int_equal(memory[0], 20 * MIB);
	assert_int_equal(memory[1], 50 * MIB);
}

/* For random models and devices: what a split gives to the ranks of the host fits into it. */
static void no_split_overfills_the_host(void **state)
{
	(void)state;
	uint64_t seed = 11;
	uint32_t n_made = 0;
	for (int k = 0; k < 300; k++) {
		const llama m = random_model(&seed);
		const evn_plan_shape s = shape_of(&m);
		const uint64_t host = evn_plan_bytes(&s) / random_in(&seed, 1, 4) + random_in(&seed, 1, 64) * MIB;
		evn_plan_candidate c[4];
		double shares[4];
		uint64_t memory[4];
		const uint32_t n = random_in(&seed, 1, 4);
		for (uint32_t i = 0; i < n; i++) {
			shares[i] = random_in(&seed, 1, 9);
			c[i] = rank(shares[i], evn_plan_bytes(&s), random_in(&seed, 0, 2) ? host : 0);
		}
		evn_split split;
		evn_plan_memory(memory, &s, c, shares, n);
		if (evn_split_make(&split, &s, n, shares, NULL, memory, NULL) != EVN_OK)
			continue;
		n_made++;
		assert_false(evn_plan_host_is_full(&split, c));
		evn_split_free(&split);
	}
	assert_true(n_made > 100);
}

/* Layouts of one device, and drivers of one chip, do not add up. */
static void only_what_can_work_together_counts(void **state)
{
	(void)state;
	const llama m = small_model(2048);
	const evn_plan_shape s = shape_of(&m);
	const uint64_t most = evn_plan_bytes(&s) * 2 / 3 + evn_plan_fixed_bytes(&s, 2);
	evn_plan_candidate c[] = {rank(1, most, 0), rank(1, most, 0)};
	assert_false(evn_plan_fits(&s, c, 1));
	assert_true(evn_plan_fits(&s, c, 2));
	c[0].device = c[1].device = 1;
	assert_false(evn_plan_fits(&s, c, 2));
	c[0].device = c[1].device = 0;
	c[0].host_bytes = c[1].host_bytes = most;
	assert_false(evn_plan_fits(&s, c, 2));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_host_is_divided_by_shares),
		cmocka_unit_test(a_limit_of_its_own_counts_too),
		cmocka_unit_test(no_split_overfills_the_host),
		cmocka_unit_test(only_what_can_work_together_counts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
