/* test_split.c - ranges cover everything without overlap, are cut at whole units, and follow the shares. Memory
 * limits are respected. */
#include "plan/shapes.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const uint64_t any_memory[EVN_MAX_RANKS] = {UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX,
												   UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX};

static evn_range heads_of(const evn_split *split, uint32_t layer, uint32_t rank)
{
	return evn_split_part(split, HEADS, layer, rank)->held;
}

static evn_range vocab_of(const evn_split *split, uint32_t rank)
{
	return evn_split_part(split, VOCAB, 0, rank)->held;
}

static bool within(evn_range r, evn_range held) { return held.begin <= r.begin && r.end <= held.end; }

/* The used ranges of a block in a phase: in rank order from 0 to its end, cut only at whole grains, by the ranks of
 * the mask, inside the held ranges. */
static void check_block(const evn_split *split, uint32_t k, uint32_t block, evn_phase phase, uint32_t grain)
{
	const uint32_t n = split->shape.classes[k].n;
	uint32_t upto = 0;
	uint64_t mask = 0;
	for (uint32_t r = 0; r < split->n_ranks; r++) {
		const evn_part *p = evn_split_part(split, k, block, r);
		const evn_range used = p->used[phase];
		assert_int_equal(used.begin, upto);
		assert_true(used.end >= used.begin);
		assert_true(used.end % grain == 0 || used.end == n);
		assert_true(!evn_range_len(used) || within(used, p->held));
		upto = used.end;
		mask |= (uint64_t)(evn_range_len(used) > 0) << r;
	}
	assert_int_equal(upto, n);
	assert_true(mask == evn_split_ranks(split, k, block, phase));
}

/* A rank holds only what is between the ranges that it uses. */
static void check_held(const evn_part *p, const evn_plan_class *cut)
{
	const evn_range a = p->used[EVN_DECODE], b = p->used[EVN_PROMPT];
	const bool has_a = evn_range_len(a), has_b = evn_range_len(b);
	assert_true((has_a && p->held.begin == a.begin) || (has_b && p->held.begin == b.begin) ||
				!evn_range_len(p->held));
	assert_true((has_a && p->held.end == a.end) || (has_b && p->held.end == b.end) || !evn_range_len(p->held));
	assert_true(cut->by_phase || (a.begin == b.begin && a.end == b.end));
}

static void check_cover(const evn_split *split, bool whole_groups)
{
	const evn_plan_shape *s = &split->shape;
	for (uint32_t k = 0; k < s->n_classes; k++) {
		const evn_plan_class *cut = &s->classes[k];
		for (uint32_t i = 0; i < cut->n_blocks; i++) {
			for (evn_phase phase = EVN_DECODE; phase < EVN_PHASES; phase++)
				check_block(split, k, i, phase, cut->grain * (whole_groups ? cut->group : 1));
			for (uint32_t r = 0; r < split->n_ranks; r++)
				check_held(evn_split_part(split, k, i, r), cut);
		}
	}
}

typedef struct {
	uint64_t total;
	uint32_t least, most; /* the least and the most in any layer */
} count;

static void add_range(count *c, evn_range r)
{
	uint32_t n = evn_range_len(r);
	c->total += n;
	c->least = n < c->least ? n : c->least;
	c->most = n > c->most ? n : c->most;
}

static void check_count(count c, double share, double all, uint32_t grain)
{
	assert_true(fabs((double)c.total - share * all) <= grain + 1e-9 * all);
	assert_true(c.most - c.least <= grain);
	if (share <= 0)
		assert_int_equal(c.total, 0);
}

static double sum_of(const double *shares, uint32_t n)
{
	double sum = 0;
	for (uint32_t r = 0; r < n; r++)
		sum += shares[r];
	return sum;
}

static void check_class_ratio(const evn_split *split, uint32_t k, evn_phase phase, const double *shares)
{
	const evn_plan_class *cut = &split->shape.classes[k];
	for (uint32_t r = 0; r < split->n_ranks; r++) {
		count c = {.least = UINT32_MAX};
		for (uint32_t i = 0; i < cut->n_blocks; i++)
			add_range(&c, evn_split_part(split, k, i, r)->used[phase]);
		check_count(c, shares[r] / sum_of(shares, split->n_ranks), (double)cut->n_blocks * cut->n, cut->grain);
	}
}

static void check_ratio(const evn_split *split, const double *shares, const double *prompt_shares)
{
	for (uint32_t k = 0; k < split->shape.n_classes; k++) {
		check_class_ratio(split, k, EVN_DECODE, shares);
		check_class_ratio(split, k, EVN_PROMPT, split->shape.classes[k].by_phase ? prompt_shares : shares);
	}
}

static void check_same(const evn_split *a, const evn_split *b)
{
	assert_int_equal(a->n_ranks, b->n_ranks);
	assert_int_equal(a->shape.n_classes, b->shape.n_classes);
	for (uint32_t k = 0; k < a->shape.n_classes; k++)
		assert_memory_equal(a->parts[k], b->parts[k], sizeof(evn_part) * a->n_ranks * a->shape.classes[k].n_blocks);
}

/* What all ranks read for one row is exactly what one row reads. */
static void check_read(const evn_split *split)
{
	for (evn_phase phase = EVN_DECODE; phase < EVN_PHASES; phase++) {
		double sum = 0;
		for (uint32_t r = 0; r < split->n_ranks; r++)
			sum += evn_split_share(split, r, phase);
		assert_true(fabs(sum - 1) < 1e-9);
	}
}

static void any_shares_are_kept_to_the_grain(void **state)
{
	(void)state;
	uint64_t random = 1;
	for (int i = 0; i < 4000; i++) {
		const llama m = random_model(&random);
		const evn_plan_shape s = shape_of(&m);
		double shares[EVN_MAX_RANKS];
		uint32_t n = random_shares(shares, &random);
		evn_split split = split_of(&s, n, shares, NULL), again = split_of(&s, n, shares, NULL);
		check_cover(&split, false);
		check_ratio(&split, shares, shares);
		check_same(&split, &again);
		check_read(&split);
		evn_split_free(&split);
		evn_split_free(&again);
	}
}

static void odd_heads_alternate_between_layers(void **state)
{
	(void)state;
	const llama m = small_model(2048);
	const evn_plan_shape s = shape_of(&m);
	evn_split split = split_of(&s, 2, (double[]){1, 1}, NULL);
	uint32_t n_first = 0;
	for (uint32_t i = 0; i + 1 < m.n_layers; i++) /* a rank with more units in one layer has fewer in the next */
		assert_int_equal(evn_range_len(heads_of(&split, i, 0)) + evn_range_len(heads_of(&split, i + 1, 0)), 9);
	for (uint32_t i = 0; i < m.n_layers; i++)
		n_first += evn_range_len(heads_of(&split, i, 0));
	assert_int_equal(n_first, 135);
	assert_int_equal(evn_range_len(vocab_of(&split, 0)), 49152 / 2);
	assert_true(fabs(evn_split_share(&split, 0, EVN_DECODE) - 0.5) < 0.01);
	evn_split_free(&split);
}

static void a_straddling_kv_head_is_held_twice(void **state)
{
	(void)state;
	const llama m = small_model(2048);
	const evn_plan_shape s = shape_of(&m);
	const evn_plan_class *heads = &s.classes[HEADS];
	evn_range kv0 = evn_plan_groups(heads, (evn_range){0, 4}), kv1 = evn_plan_groups(heads, (evn_range){4, 9});
	assert_int_equal(kv0.begin, 0);
	assert_int_equal(kv0.end, 2);
	assert_int_equal(kv1.begin, 1);
	assert_int_equal(kv1.end, 3);
	assert_int_equal(evn_range_len(evn_plan_groups(heads, (evn_range){4, 4})), 0);
	assert_int_equal(evn_range_len(evn_plan_groups(heads, (evn_range){3, 6})), 1);

	uint64_t one = m.fixed_bytes + m.n_layers * (9 * m.head_bytes + 3 * (m.kv_head_bytes + m.kv_cache_bytes)) +
				   m.n_layers * 1536 * m.ff_unit_bytes + 49152 * m.vocab_row_bytes;
	evn_split split = split_of(&s, 1, (double[]){1}, NULL);
	assert_int_equal(evn_plan_bytes(&s), one - m.fixed_bytes);
	assert_int_equal(evn_split_bytes(&split, 0), one);
	evn_split_free(&split);
	split = split_of(&s, 2, (double[]){1, 1}, NULL);
	assert_int_equal(evn_split_bytes(&split, 0) + evn_split_bytes(&split, 1),
					 one + m.fixed_bytes + m.n_layers * (m.kv_head_bytes + m.kv_cache_bytes));
	evn_split_free(&split);
}

/* Each of three ranks holds the bytes of three peers. With a limit below that, a rank gets nothing. */
static void messages_are_held_for_every_rank(void **state)
{
	(void)state;
	const llama m = small_model(2048);
	evn_plan_shape s = shape_of(&m);
	const double shares[] = {1, 1, 1};
	evn_split split = split_of(&s, 3, shares, NULL);
	uint64_t before[3];
	for (uint32_t r = 0; r < 3; r++)
		before[r] = evn_split_bytes(&split, r);
	evn_split_free(&split);
	s.peer_bytes = 5 * MIB;
	split = split_of(&s, 3, shares, NULL);
	for (uint32_t r = 0; r < 3; r++)
		assert_int_equal(evn_split_bytes(&split, r), before[r] + 15 * MIB);
	evn_split_free(&split);
	const uint64_t memory[3] = {s.fixed_bytes + 14 * MIB, UINT64_MAX, UINT64_MAX};
	assert_int_equal(evn_split_make(&split, &s, 3, shares, NULL, memory, NULL), EVN_OK);
	assert_int_equal(evn_split_bytes(&split, 0), evn_plan_fixed_bytes(&s, 3));
	assert_int_equal(evn_range_len(vocab_of(&split, 0)), 0);
	evn_split_free(&split);
}

static void a_share_of_zero_gets_nothing(void **state)
{
	(void)state;
	const llama m = small_model(2048);
	const evn_plan_shape s = shape_of(&m);
	static const double shares[][3] = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}, {0.1, 0, 0.7}};
	for (size_t k = 0; k < sizeof shares / sizeof *shares; k++) {
		evn_split split = split_of(&s, 3, shares[k], NULL);
		check_cover(&split, false);
		check_ratio(&split, shares[k], shares[k]);
		for (uint32_t r = 0; r < 3; r++)
			assert_int_equal(evn_split_bytes(&split, r) == s.fixed_bytes, shares[k][r] <= 0);
		evn_split_free(&split);
	}
}

static void a_rank_without_heads_still_has_the_rest(void **state)
{
	(void)state;
	llama m = small_model(2048);
	m.n_heads = m.n_kv_heads = 1;
	m.n_layers = 4;
	const evn_plan_shape s = shape_of(&m);
	uint32_t n_idle = 0;
	double shares[8] = {1, 1, 1, 1, 1, 1, 1, 1};
	evn_split split = split_of(&s, 8, shares, NULL);
	check_cover(&split, false);
	for (uint32_t r = 0; r < 8; r++) {
		uint32_t n_heads = 0;
		for (uint32_t i = 0; i < m.n_layers; i++)
			n_heads += evn_range_len(heads_of(&split, i, r));
		n_idle += n_heads == 0;
		assert_int_equal(evn_range_len(evn_split_part(&split, UNITS, 0, r)->held), 1536 / 8);
		assert_int_equal(evn_range_len(vocab_of(&split, r)), 49152 / 8);
	}
	assert_int_equal(n_idle, 4);
	evn_split_free(&split);
}

static void extreme_weights_do_not_overflow(void **state)
{
	(void)state;
	const llama m = small_model(2048);
	const evn_plan_shape s = shape_of(&m);
	static const double shares[][2] = {{1.7e308, 1.7e308}, {5e-324, 5e-324}};
	for (int k = 0; k < 2; k++) {
		evn_split split = split_of(&s, 2, shares[k], NULL);
		check_ratio(&split, (double[]){1, 1}, (double[]){1, 1});
		evn_split_free(&split);
	}
}

/* ---- memory ---------------------------------------------------------------------------------------------------- */

/* What cuts at whole units can leave unused on one rank: one unit of each kind at either end of its range. */
static double grain_bytes(const evn_plan_shape *s)
{
	double sum = 0;
	for (uint32_t k = 0; k < s->n_classes; k++) {
		const evn_plan_class *cut = &s->classes[k];
		sum += (double)cut->grain * cut->group * (double)cut->unit_bytes + (double)cut->group_bytes +
			   (double)cut->cache_bytes;
	}
	return 2 * sum;
}

static uint64_t random_memory(uint64_t *memory, const evn_plan_shape *s, uint32_t n, uint64_t *random)
{
	const uint64_t need = evn_plan_bytes(s);
	for (uint32_t r = 0; r < n; r++) {
		double part = random_in(random, 0, 2000) * 1e-3 / n;
		memory[r] = s->fixed_bytes + (uint64_t)((double)need * part);
		if (random_in(random, 0, 9) == 0)
			memory[r] = s->fixed_bytes / 2;
		if (random_in(random, 0, 9) == 0)
			memory[r] = UINT64_MAX;
	}
	return need;
}

static void check_fits(const evn_split *split, const uint64_t *memory)
{
	check_cover(split, false);
	for (uint32_t r = 0; r < split->n_ranks; r++) {
		uint64_t bytes = evn_split_bytes(split, r);
		assert_true(bytes <= memory[r] || bytes == split->shape.fixed_bytes);
	}
}

static bool has_one_layout(const evn_split *split)
{
	bool one = true;
	for (uint32_t k = 0; k < split->shape.n_classes; k++)
		for (uint32_t i = 0; i < split->shape.classes[k].n_blocks * split->n_ranks; i++) {
			const evn_range *used = split->parts[k][i].used;
			one &= !memcmp(&used[EVN_DECODE], &used[EVN_PROMPT], sizeof *used);
		}
	return one;
}

/* With room for both, each phase has its own shares. With one byte less than both need, both phases have the decode
 * shares. */
static void prompts_have_shares_of_their_own_where_both_fit(void **state)
{
	(void)state;
	uint64_t random = 11;
	int n_one = 0;
	for (int i = 0; i < 2000; i++) {
		const llama m = random_model(&random);
		const evn_plan_shape s = shape_of(&m);
		double shares[EVN_MAX_RANKS] = {0}, prompt_shares[EVN_MAX_RANKS] = {0};
		uint64_t memory[EVN_MAX_RANKS];
		uint32_t n = random_shares(shares, &random), other = random_shares(prompt_shares, &random);
		n = other > n ? other : n;
		evn_split split = split_of(&s, n, shares, prompt_shares), tight;
		assert_false(split.one_layout);
		check_cover(&split, false);
		check_ratio(&split, shares, prompt_shares);
		check_read(&split);
		for (uint32_t r = 0; r < n; r++)
			memory[r] = evn_split_bytes(&split, r);
		assert_int_equal(evn_split_make(&tight, &s, n, shares, prompt_shares, memory, NULL), EVN_OK);
		check_same(&split, &tight);
		evn_split_free(&tight);
		memory[0]--;
		if (memory[0] >= s.fixed_bytes &&
			evn_split_make(&tight, &s, n, shares, prompt_shares, memory, NULL) == EVN_OK) {
			check_fits(&tight, memory);
			assert_true(has_one_layout(&tight));
			n_one += tight.one_layout;
			evn_split_free(&tight);
		}
		evn_split_free(&split);
	}
	assert_true(n_one > 100);
}

/* Kept for one phase, a rank holds what it used in that phase, and all ranks together hold each unit once. */
static void one_phase_is_kept(void **state)
{
	(void)state;
	uint64_t random = 13;
	int n_changed = 0;
	for (int i = 0; i < 500; i++) {
		const llama m = random_model(&random);
		const evn_plan_shape s = shape_of(&m);
		double shares[EVN_MAX_RANKS] = {0}, prompt_shares[EVN_MAX_RANKS] = {0};
		uint32_t n = random_shares(shares, &random), other = random_shares(prompt_shares, &random);
		n = other > n ? other : n;
		evn_split split = split_of(&s, n, shares, prompt_shares), kept = split_of(&s, n, shares, prompt_shares);
		evn_split_keep_phase(&kept, EVN_PROMPT);
		check_cover(&kept, false);
		assert_true(has_one_layout(&kept));
		for (uint32_t k = 0; k < s.n_classes; k++)
			for (uint32_t b = 0; b < s.classes[k].n_blocks; b++)
				for (uint32_t r = 0; r < n; r++) {
					const evn_part *p = evn_split_part(&split, k, b, r), *q = evn_split_part(&kept, k, b, r);
					assert_memory_equal(&q->used[EVN_PROMPT], &p->used[EVN_PROMPT], sizeof(evn_range));
					assert_int_equal(evn_range_len(q->held), evn_range_len(p->used[EVN_PROMPT]));
					n_changed += evn_range_len(q->held) < evn_range_len(p->held);
				}
		evn_split_free(&split);
		evn_split_free(&kept);
	}
	assert_true(n_changed > 100);
}

static void memory_limits_are_respected(void **state)
{
	(void)state;
	uint64_t random = 7;
	int n_fits = 0, n_not = 0;
	for (int i = 0; i < 4000; i++) {
		const llama m = random_model(&random);
		const evn_plan_shape s = shape_of(&m);
		double shares[EVN_MAX_RANKS], room = 0;
		uint64_t memory[EVN_MAX_RANKS];
		uint32_t n = random_shares(shares, &random);
		uint64_t need = random_memory(memory, &s, n, &random);
		evn_split split;
		evn_error err;
		evn_status status = evn_split_make(&split, &s, n, shares, NULL, memory, &err);
		if (status == EVN_OK) {
			check_fits(&split, memory);
			evn_split_free(&split);
			n_fits++;
			continue;
		}
		assert_int_equal(status, EVN_ERR_LIMIT);
		assert_null(split.parts[VOCAB]);
		assert_non_null(strstr(err.text, "not enough device memory"));
		for (uint32_t r = 0; r < n; r++)
			if (shares[r] > 0 && memory[r] > s.fixed_bytes)
				room += fmin((double)(memory[r] - s.fixed_bytes), 1e15) - grain_bytes(&s);
		assert_true(room < (double)need);
		n_not++;
	}
	assert_true(n_fits > 1000 && n_not > 1000);
}

static void what_a_full_rank_leaves_goes_to_the_others_in_proportion(void **state)
{
	(void)state;
	const llama m = small_model(0);
	const evn_plan_shape s = shape_of(&m);
	evn_split split;
	uint64_t memory[] = {10 * MIB, UINT64_MAX, UINT64_MAX};
	assert_int_equal(evn_split_make(&split, &s, 3, (double[]){2, 1, 3}, NULL, memory, NULL), EVN_OK);
	check_fits(&split, memory);
	assert_true(evn_split_bytes(&split, 0) > 9 * MIB);
	double ratio = evn_split_share(&split, 2, EVN_DECODE) / evn_split_share(&split, 1, EVN_DECODE);
	assert_true(fabs(ratio - 3) < 0.1);
	evn_split_free(&split);

	memory[1] = 20 * MIB; /* it fits its own share, but not what rank 0 leaves */
	assert_int_equal(evn_split_make(&split, &s, 3, (double[]){2, 1, 3}, NULL, memory, NULL), EVN_OK);
	check_fits(&split, memory);
	assert_true(evn_split_bytes(&split, 1) > 18 * MIB);
	evn_split_free(&split);
}

static void tight_memory_keeps_kv_groups_whole(void **state)
{
	(void)state;
	const llama m = small_model(8192);
	const evn_plan_shape s = shape_of(&m);
	evn_split split;
	uint64_t per_rank = m.fixed_bytes + m.n_layers * (3 * m.head_bytes + m.kv_head_bytes + m.kv_cache_bytes) +
						(m.n_layers * 1536 * m.ff_unit_bytes + 49152 * m.vocab_row_bytes) / 3 + MIB / 4;
	uint64_t memory[] = {2 * per_rank, per_rank};
	assert_int_equal(evn_split_make(&split, &s, 2, (double[]){1, 1}, NULL, memory, NULL), EVN_OK);
	check_fits(&split, memory);
	check_cover(&split, true);
	evn_split_free(&split);
}

static void what_is_missing_is_said(void **state)
{
	(void)state;
	const llama m = small_model(0);
	const evn_plan_shape s = shape_of(&m);
	evn_split split;
	evn_error err;
	uint64_t need = s.fixed_bytes + evn_plan_bytes(&s);
	assert_int_equal(evn_split_make(&split, &s, 1, (double[]){1}, NULL, &need, NULL), EVN_OK);
	evn_split_free(&split);

	uint64_t memory[] = {need - 3 * MIB, 0};
	assert_int_equal(evn_split_make(&split, &s, 1, (double[]){1}, NULL, memory, &err), EVN_ERR_LIMIT);
	assert_non_null(strstr(err.text, "3.0 MiB missing"));
	assert_int_equal(evn_split_make(&split, &s, 2, (double[]){1, 5}, NULL, memory, &err), EVN_ERR_LIMIT);
	assert_non_null(strstr(err.text, "1 device may hold"));
	memory[0] = need; /* the share asks rank 1 for everything */
	assert_int_equal(evn_split_make(&split, &s, 2, (double[]){0, 5}, NULL, memory, &err), EVN_ERR_LIMIT);
	assert_non_null(strstr(err.text, "1.0 MiB are needed on each device"));
	assert_int_equal(evn_split_make(&split, &s, 2, (double[]){1, 5}, NULL, memory, &err), EVN_OK);
	check_fits(&split, memory);
	evn_split_free(&split);
}

static void sizes_beyond_64_bits_do_not_wrap(void **state)
{
	(void)state;
	llama m = small_model(0);
	m.kv_cache_bytes = UINT64_MAX / 2;
	const evn_plan_shape s = shape_of(&m);
	uint64_t memory = GIB;
	evn_split split;
	assert_int_equal(evn_split_make(&split, &s, 1, (double[]){1}, NULL, &memory, NULL), EVN_ERR_LIMIT);
}

static void wrong_use_is_refused(void **state)
{
	(void)state;
	const llama m = small_model(0);
	const evn_plan_shape s = shape_of(&m);
	evn_split split;
	evn_error err;
	static const double bad[][2] = {{0, 0}, {-1, 1}, {NAN, 1}, {1, INFINITY}};
	static const char *const says[] = {"every share is 0", "rank 0 is -1", "rank 0 is ", "rank 1 is inf"};
	for (int k = 0; k < 4; k++) {
		assert_int_equal(evn_split_make(&split, &s, 2, bad[k], NULL, any_memory, &err), EVN_ERR_USAGE);
		assert_non_null(strstr(err.text, says[k]));
	}
	static double shares[EVN_PLAN_MAX_RANKS + 1] = {1};
	assert_int_equal(evn_split_make(&split, &s, 0, shares, NULL, any_memory, NULL), EVN_ERR_USAGE);
	assert_int_equal(evn_split_make(&split, &s, EVN_PLAN_MAX_RANKS + 1, shares, NULL, any_memory, NULL),
					 EVN_ERR_USAGE);
	struct {
		evn_plan_shape shape;
		const char *says;
	} wrong[] = {{s, "9 heads: expected a multiple of the group's 2"},
				 {s, "in steps of 0"},
				 {s, "blocks of 0 feed-forward units"},
				 {s, "first class"},
				 {s, "0 classes"},
				 {s, "a row uses 0 of heads"}};
	wrong[0].shape.classes[HEADS].group = 2;
	wrong[1].shape.classes[UNITS].grain = 0;
	wrong[2].shape.classes[UNITS].n = 0;
	wrong[3].shape.classes[VOCAB].n_blocks = 2;
	wrong[4].shape.n_classes = 0;
	wrong[5].shape.classes[HEADS].read_fraction = 0;
	for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++) {
		assert_int_equal(evn_split_make(&split, &wrong[k].shape, 1, shares, NULL, any_memory, &err), EVN_ERR_USAGE);
		assert_non_null(strstr(err.text, wrong[k].says));
		assert_null(split.parts[VOCAB]);
	}
	evn_split_free(&split);
	evn_split_free(NULL);
}

static void without_layers_the_vocabulary_is_cut(void **state)
{
	(void)state;
	const llama m = {.dim = 5, .vocab = 10, .vocab_grain = 1, .vocab_row_bytes = 20, .fixed_bytes = 1000};
	const evn_plan_shape s = shape_of(&m);
	const double shares[] = {3, 5, 2};
	evn_split split = split_of(&s, 3, shares, NULL);
	assert_int_equal(evn_range_len(evn_split_part(&split, HEADS, 0, 0)->held), 0);
	for (uint32_t r = 0, at = 0; r < 3; r++) {
		assert_int_equal(vocab_of(&split, r).begin, at);
		assert_int_equal(evn_range_len(vocab_of(&split, r)), shares[r]);
		assert_int_equal(evn_split_bytes(&split, r), 1000 + 20 * shares[r]);
		assert_true(fabs(evn_split_share(&split, r, EVN_DECODE) - shares[r] / 10) < 1e-12);
		at = vocab_of(&split, r).end;
	}
	evn_split_free(&split);
	const uint64_t too_little[] = {1010, 1010, 1010};
	assert_int_equal(evn_split_make(&split, &s, 3, shares, NULL, too_little, NULL), EVN_ERR_LIMIT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_shares_are_kept_to_the_grain),
		cmocka_unit_test(odd_heads_alternate_between_layers),
		cmocka_unit_test(a_straddling_kv_head_is_held_twice),
		cmocka_unit_test(messages_are_held_for_every_rank),
		cmocka_unit_test(a_share_of_zero_gets_nothing),
		cmocka_unit_test(a_rank_without_heads_still_has_the_rest),
		cmocka_unit_test(extreme_weights_do_not_overflow),
		cmocka_unit_test(prompts_have_shares_of_their_own_where_both_fit),
		cmocka_unit_test(one_phase_is_kept),
		cmocka_unit_test(memory_limits_are_respected),
		cmocka_unit_test(what_a_full_rank_leaves_goes_to_the_others_in_proportion),
		cmocka_unit_test(tight_memory_keeps_kv_groups_whole),
		cmocka_unit_test(what_is_missing_is_said),
		cmocka_unit_test(sizes_beyond_64_bits_do_not_wrap),
		cmocka_unit_test(without_layers_the_vocabulary_is_cut),
		cmocka_unit_test(wrong_use_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
