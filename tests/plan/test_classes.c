/* test_classes.c - tables of classes that a Llama does not have: layers that differ, windows, experts. Ranges and
 * times are compared with plain definitions of them. */
#include "plan/shapes.h"

#include <stdlib.h>

/* Layers with a window and layers without, dense ones and ones with experts. */
static evn_plan_shape random_table(uint64_t *random)
{
	static const uint32_t grains[] = {1, 2, 32};
	static const evn_cut_kind kinds[] = {EVN_CUT_HEADS, EVN_CUT_UNITS, EVN_CUT_EXPERTS};
	evn_plan_shape s = {.n_classes = random_in(random, 1, 7), .fixed_bytes = random_in(random, 0, 1 << 20)};
	for (uint32_t k = 0; k < s.n_classes; k++) {
		evn_plan_class *cut = &s.classes[k];
		cut->kind = k == EVN_PLAN_VOCAB ? EVN_CUT_ROWS : kinds[random_in(random, 0, 2)];
		const bool heads = cut->kind == EVN_CUT_HEADS, experts = cut->kind == EVN_CUT_EXPERTS;
		cut->n_blocks = k == EVN_PLAN_VOCAB ? 1 : random_in(random, 0, 40);
		cut->group = heads ? random_in(random, 1, 9) : 1;
		cut->n = heads ? cut->group * random_in(random, 1, 8) : random_in(random, 1, experts ? 64 : 4000);
		cut->grain = heads || experts ? 1 : grains[random_in(random, 0, 2)];
		cut->unit_bytes = random_in(random, 1, 100000);
		cut->group_bytes = heads ? random_in(random, 1, 100000) : 0;
		cut->cache_bytes = heads ? random_in(random, 0, 1 << 20) : 0;
		cut->unit_macs = random_in(random, 1, 100000);
		cut->group_macs = heads ? random_in(random, 1, 100000) : 0;
		cut->read_fraction = experts ? 1.0 / random_in(random, 1, cut->n) : 1;
		cut->most_keys = !heads ? 0 : random_in(random, 0, 1) ? (double)INFINITY : random_in(random, 1, 1000);
		cut->by_phase = k != EVN_PLAN_VOCAB && !heads && random_in(random, 0, 1);
	}
	return s;
}

/* ---- ranges ---------------------------------------------------------------------------------------------------- */

static uint32_t reversed(uint32_t i, uint32_t n)
{
	uint32_t r = 0;
	for (uint32_t bit = 1; bit < n; bit *= 2, i /= 2)
		r = 2 * r + i % 2;
	return r;
}

/* The position of block i in the order of indices with reversed bits. */
static uint32_t place(uint32_t i, uint32_t n)
{
	uint32_t before = 0;
	for (uint32_t j = 0; j < n; j++)
		before += reversed(j, n) < reversed(i, n);
	return before;
}

/* The fractions of all elements before rank r and before the next one, added up as in split.c. */
static void fractions(const double *shares, uint32_t n, uint32_t r, double out[2])
{
	double most = 0, sum = 0, upto = 0, weights[EVN_MAX_RANKS];
	for (uint32_t i = 0; i < n; i++)
		most = fmax(most, shares[i]);
	for (uint32_t i = 0; i < n; i++) {
		weights[i] = shares[i] / most;
		sum += weights[i];
	}
	for (uint32_t i = 0; i < r; i++)
		upto += weights[i];
	out[0] = upto / sum;
	out[1] = (upto + weights[r]) / sum;
}

/* Units are dealt one by one: the first unit of every block in order, then the second of every block, and so on. A
 * unit is before the cut if its middle is before the fraction of all elements. The result is the number of elements
 * in each block. */
static void deal(const evn_plan_class *cut, double fraction, uint32_t *elements)
{
	const double at = fraction * cut->n * cut->n_blocks;
	uint32_t *at_place = calloc(cut->n_blocks, sizeof *at_place);
	double dealt = 0;
	assert_non_null(at_place);
	for (uint32_t i = 0; i < cut->n_blocks; i++) {
		at_place[place(i, cut->n_blocks)] = i;
		elements[i] = 0;
	}
	for (uint32_t first = 0; first < cut->n; first += cut->grain) {
		const uint32_t size = cut->n - first < cut->grain ? cut->n - first : cut->grain;
		for (uint32_t p = 0; p < cut->n_blocks; p++, dealt += size)
			if (dealt + size / 2.0 <= at)
				elements[at_place[p]] = first + size;
	}
	free(at_place);
}

static void check_class(const evn_split *split, uint32_t k, evn_phase phase, const double *shares)
{
	const evn_plan_class *cut = &split->shape.classes[k];
	uint32_t *begin = calloc(cut->n_blocks, sizeof *begin), *end = calloc(cut->n_blocks, sizeof *end);
	assert_true(begin && end);
	for (uint32_t r = 0; r < split->n_ranks; r++) {
		double at[2];
		fractions(shares, split->n_ranks, r, at);
		deal(cut, at[0], begin);
		deal(cut, at[1], end);
		for (uint32_t i = 0; i < cut->n_blocks; i++) {
			assert_int_equal(evn_split_part(split, k, i, r)->used[phase].begin, begin[i]);
			assert_int_equal(evn_split_part(split, k, i, r)->used[phase].end, end[i]);
		}
	}
	free(begin);
	free(end);
}

static void units_are_dealt_one_by_one(void **state)
{
	(void)state;
	uint64_t random = 21;
	for (int t = 0; t < 150; t++) {
		const evn_plan_shape s = random_table(&random);
		double shares[EVN_MAX_RANKS] = {0}, prompts[EVN_MAX_RANKS] = {0};
		uint32_t n = random_shares(shares, &random), other = random_shares(prompts, &random);
		evn_split split = split_of(&s, n > other ? n : other, shares, prompts);
		for (uint32_t k = 0; k < s.n_classes; k++) {
			check_class(&split, k, EVN_DECODE, shares);
			check_class(&split, k, EVN_PROMPT, s.classes[k].by_phase ? prompts : shares);
		}
		evn_split_free(&split);
	}
}

/* ---- bytes and times ------------------------------------------------------------------------------------------- */

static uint64_t groups_touched(const evn_plan_class *cut, evn_range units)
{
	uint64_t n = 0;
	for (uint32_t g = 0; g * cut->group < cut->n; g++)
		n += units.begin < (g + 1) * cut->group && units.end > g * cut->group && units.begin < units.end;
	return n;
}

static uint64_t bytes_by_hand(const evn_split *split, uint32_t rank)
{
	uint64_t sum = split->shape.fixed_bytes;
	for (uint32_t k = 0; k < split->shape.n_classes; k++) {
		const evn_plan_class *cut = &split->shape.classes[k];
		for (uint32_t i = 0; i < cut->n_blocks; i++) {
			const evn_range held = evn_split_part(split, k, i, rank)->held;
			sum += evn_range_len(held) * cut->unit_bytes;
			sum += groups_touched(cut, held) * (cut->group_bytes + cut->cache_bytes);
		}
	}
	return sum;
}

/* The positions that a head attends to: each row up to its own, of which it counts half. A window that begins in the
 * middle of a prompt's row is summed in small fractions of a row. */
static double positions_by_hand(const evn_plan_class *cut, evn_plan_step step)
{
	const uint32_t parts = 256;
	double sum = 0;
	if (step.phase == EVN_DECODE)
		return step.n_rows * fmin(step.position + 0.5, cut->most_keys);
	for (uint32_t i = 0; i < step.n_rows * parts; i++)
		sum += fmin(step.position + (i + 0.5) / parts, cut->most_keys) / parts;
	return sum;
}

static double block_by_hand(const evn_plan_class *cut, evn_range used, double positions, const evn_rates *r,
							evn_plan_step step)
{
	const double n = step.n_rows, units = evn_range_len(used), groups = (double)groups_touched(cut, used);
	/* the fraction of the units that some row reads: rows choose theirs independently */
	const double read = 1 - pow(1 - cut->read_fraction, n);
	const double bytes = read * (units * (double)cut->unit_bytes + groups * (double)cut->group_bytes);
	const double macs = n * cut->read_fraction * (units * cut->unit_macs + groups * cut->group_macs);
	const double compute_s = 2 * macs / (r->gemm_gflops * 1e9), read_s = bytes / (r->gemv_gbs * 1e9);
	if (units == 0)
		return 0;
	if (step.phase == EVN_PROMPT)
		return compute_s + n * r->block_row_us * 1e-6 + units * positions * r->prompt_key_ns * 1e-9;
	return (n > 1 ? fmax(read_s, compute_s) : read_s) + (r->block_us + (n - 1) * r->block_row_us) * 1e-6 +
		   units * positions * r->key_ns * 1e-9;
}

/* Every block takes as long as its slowest rank, and ends in an all-reduce if several ranks work. */
static double step_by_hand(const evn_split *split, const evn_plan_candidate *c, evn_plan_step step,
						   evn_reduce_cost cost)
{
	double sum = 0, row_us = cost.prompt_us / EVN_PLAN_PROMPT;
	double reduce_us = step.phase == EVN_PROMPT ? step.n_rows * row_us : cost.token_us + (step.n_rows - 1) * row_us;
	uint32_t n_working = 0;
	for (uint32_t r = 0; r < split->n_ranks; r++)
		n_working += bytes_by_hand(split, r) > split->shape.fixed_bytes;
	for (uint32_t k = 1; k < split->shape.n_classes; k++) {
		const evn_plan_class *cut = &split->shape.classes[k];
		const double positions = positions_by_hand(cut, step);
		for (uint32_t i = 0; i < cut->n_blocks; i++) {
			double slowest = 0;
			for (uint32_t r = 0; r < split->n_ranks; r++) {
				const evn_range used = evn_split_part(split, k, i, r)->used[step.phase];
				slowest = fmax(slowest, block_by_hand(cut, used, positions, &c[r].rates, step));
			}
			sum += slowest + (n_working > 1 ? reduce_us * 1e-6 : 0);
		}
	}
	return sum;
}

static evn_plan_candidate random_rank(uint64_t *random)
{
	return (evn_plan_candidate){.rates = {.gemv_gbs = random_in(random, 1, 1000) * 0.1,
										  .gemm_gflops = random_in(random, 1, 3000),
										  .vocab_gbs = random_in(random, 1, 1000) * 0.1,
										  .block_us = random_in(random, 0, 30),
										  .block_row_us = random_in(random, 0, 300) * 1e-3,
										  .key_ns = random_in(random, 0, 30),
										  .prompt_key_ns = random_in(random, 0, 30)}};
}

static void bytes_and_times_are_as_summed_by_hand(void **state)
{
	(void)state;
	uint64_t random = 22;
	for (int t = 0; t < 400; t++) {
		const evn_plan_shape s = random_table(&random);
		double shares[EVN_MAX_RANKS] = {0}, prompts[EVN_MAX_RANKS] = {0}, read = 0;
		evn_plan_candidate c[EVN_MAX_RANKS];
		uint32_t n = random_shares(shares, &random), other = random_shares(prompts, &random);
		evn_split split = split_of(&s, n > other ? n : other, shares, prompts);
		for (uint32_t r = 0; r < split.n_ranks; r++) {
			c[r] = random_rank(&random);
			assert_int_equal(evn_split_bytes(&split, r), bytes_by_hand(&split, r));
			read += evn_split_share(&split, r, EVN_PROMPT);
		}
		assert_true(fabs(read - 1) < 1e-9);
		const evn_reduce_cost cost = {random_in(&random, 0, 100), random_in(&random, 0, 10000)};
		const uint32_t position = random_in(&random, 0, 2000), rows = random_in(&random, 2, 40);
		const evn_plan_step steps[] = {
			{EVN_DECODE, 1, position}, {EVN_DECODE, rows, position}, {EVN_PROMPT, rows, position}};
		for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
			double got = evn_predict_blocks_s(&split, c, steps[i], cost),
				   want = step_by_hand(&split, c, steps[i], cost);
			assert_true(fabs(got - want) <= 1e-5 * want);
		}
		evn_split_free(&split);
	}
}

/* ---- single cases ---------------------------------------------------------------------------------------------- */

static double time_of(const evn_plan_shape *s, evn_plan_step step, const evn_rates *rates)
{
	evn_split split = split_of(s, 1, (double[]){1}, NULL);
	const evn_plan_candidate c = {.rates = *rates};
	double got = evn_predict_blocks_s(&split, &c, step, (evn_reduce_cost){0});
	evn_split_free(&split);
	return got;
}

static void a_row_reads_the_experts_it_uses(void **state)
{
	(void)state;
	const llama m = small_model(2048);
	evn_plan_shape s = shape_of(&m);
	const evn_rates rates = {.gemv_gbs = 1, .gemm_gflops = 1e9};
	s.n_classes = 2;
	s.classes[1] = (evn_plan_class){.kind = EVN_CUT_EXPERTS,
									.n_blocks = 10,
									.n = 8,
									.grain = 1,
									.group = 1,
									.unit_bytes = 1000,
									.read_fraction = 2.0 / 8};
	assert_true(fabs(time_of(&s, (evn_plan_step){EVN_DECODE, 1, 0}, &rates) / (10 * 2 * 1000e-9) - 1) < 1e-9);
	/* 2 + 2 of 8 units, minus those that both rows use */
	double several = time_of(&s, (evn_plan_step){EVN_DECODE, 2, 0}, &rates);
	assert_true(fabs(several / (10 * 3.5 * 1000e-9) - 1) < 1e-9);
	/* all units are used, and none is read twice */
	several = time_of(&s, (evn_plan_step){EVN_DECODE, 100, 0}, &rates);
	assert_true(fabs(several / (10 * 8 * 1000e-9) - 1) < 1e-6);
	evn_split split = split_of(&s, 2, (double[]){1, 1}, NULL);
	assert_int_equal(evn_split_bytes(&split, 0), m.fixed_bytes + 10 * 4 * 1000 + 49152 / 2 * m.vocab_row_bytes);
	evn_split_free(&split);
}

/* Beyond the window a step takes no longer. Before it, a step takes as long as without a window. */
static void a_window_is_the_most_that_is_attended_to(void **state)
{
	(void)state;
	const llama m = small_model(2048);
	evn_plan_shape all = shape_of(&m), window = all;
	const evn_rates rates = {.gemv_gbs = 1, .gemm_gflops = 1, .key_ns = 10, .prompt_key_ns = 10};
	window.classes[HEADS].most_keys = 128;
	const evn_plan_step before = {EVN_DECODE, 1, 100}, at = {EVN_DECODE, 1, 128}, behind = {EVN_DECODE, 1, 1000};
	assert_true(time_of(&window, before, &rates) == time_of(&all, before, &rates));
	assert_true(time_of(&window, behind, &rates) == time_of(&window, at, &rates));
	assert_true(time_of(&all, behind, &rates) > time_of(&all, at, &rates));
	double less = time_of(&all, behind, &rates) - time_of(&window, behind, &rates); /* layers, heads, positions */
	assert_true(fabs(less / (30 * 9 * (1000.5 - 128) * 10e-9) - 1) < 1e-9);
	const evn_plan_step prompt = {EVN_PROMPT, 256, 0}; /* half of it is within the window */
	less = time_of(&all, prompt, &rates) - time_of(&window, prompt, &rates);
	assert_true(fabs(less / (30 * 9 * (128 * 128 / 2) * 10e-9) - 1) < 1e-9);
}

/* Half of the layers have a window. Their blocks are a separate class, and the other layers cost the same as
 * before. */
static void layers_that_differ_are_classes_of_their_own(void **state)
{
	(void)state;
	const llama m = small_model(2048);
	const evn_plan_shape s = shape_of(&m);
	evn_plan_shape two = s;
	two.n_classes = 4;
	two.classes[3] = two.classes[HEADS];
	two.classes[HEADS].n_blocks = two.classes[3].n_blocks = m.n_layers / 2;
	assert_int_equal(evn_plan_n_blocks(&two), 2 * m.n_layers);
	assert_true(evn_plan_bytes(&two) == evn_plan_bytes(&s));
	const evn_rates rates = {.gemv_gbs = 1, .gemm_gflops = 1, .block_us = 3, .key_ns = 10};
	const evn_plan_step late = {EVN_DECODE, 1, 1000};
	double same = time_of(&two, late, &rates), one = time_of(&s, late, &rates);
	assert_true(fabs(same / one - 1) < 1e-12);
	two.classes[3].most_keys = 100;
	double less = one - time_of(&two, late, &rates);
	assert_true(fabs(less / (15 * 9 * (1000.5 - 100) * 10e-9) - 1) < 1e-9);
}

static void a_part_is_a_split_of_one_rank(void **state)
{
	(void)state;
	uint64_t random = 23;
	for (int t = 0; t < 200; t++) {
		const evn_plan_shape s = random_table(&random);
		double shares[EVN_MAX_RANKS] = {0}, prompts[EVN_MAX_RANKS] = {0};
		uint32_t n = random_shares(shares, &random), other = random_shares(prompts, &random);
		evn_split split = split_of(&s, n > other ? n : other, shares, prompts), whole, part;
		const evn_plan_step token = {EVN_DECODE, 1, 10};
		for (uint32_t r = 0; r < split.n_ranks; r++) {
			assert_int_equal(evn_split_alone(&whole, &split, r, 1, NULL), EVN_OK);
			assert_int_equal(evn_split_alone(&part, &split, r, 4, NULL), EVN_OK);
			assert_int_equal(evn_split_bytes(&whole, 0), evn_split_bytes(&split, r));
			assert_true(evn_split_work(&whole, 0, token).bytes == evn_split_work(&split, r, token).bytes);
			assert_int_equal(evn_range_len(evn_split_part(&part, EVN_PLAN_VOCAB, 0, 0)->held), 0);
			for (uint32_t k = 1; k < s.n_classes; k++)
				for (uint32_t i = 0; i < s.classes[k].n_blocks; i++) {
					const evn_range all = evn_split_part(&split, k, i, r)->used[EVN_PROMPT];
					const evn_range few = evn_split_part(&part, k, i, 0)->used[EVN_PROMPT];
					const uint32_t len = evn_range_len(all), most = len / 4 + s.classes[k].grain;
					assert_true(few.begin == all.begin && few.end <= all.end);
					assert_true(evn_range_len(few) >= len / 4 && evn_range_len(few) <= most);
					assert_true(!len || evn_range_len(few));
				}
			evn_split_free(&whole);
			evn_split_free(&part);
		}
		evn_split_free(&split);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(units_are_dealt_one_by_one),
		cmocka_unit_test(bytes_and_times_are_as_summed_by_hand),
		cmocka_unit_test(a_row_reads_the_experts_it_uses),
		cmocka_unit_test(a_window_is_the_most_that_is_attended_to),
		cmocka_unit_test(layers_that_differ_are_classes_of_their_own),
		cmocka_unit_test(a_part_is_a_split_of_one_rank),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
