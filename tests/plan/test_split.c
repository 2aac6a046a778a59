/* test_split.c - ranges cover everything without overlap, are cut at whole units, and follow the shares. Memory
 * limits are respected. */
#include "plan/shapes.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const uint64_t any_memory[EVN_MAX_RANKS] = {UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX,
												   UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX};

static const evn_layer_split *layer_of(const evn_split *split, uint32_t layer, uint32_t rank)
{
	return &split->layers[(size_t)layer * split->n_ranks + rank];
}

/* Contiguous in rank order from 0 to size, and cut only at whole units. */
static void check_step(uint32_t *upto, evn_range r, uint32_t size, uint32_t grain)
{
	assert_int_equal(r.begin, *upto);
	assert_true(r.end >= r.begin);
	assert_true(r.end % grain == 0 || r.end == size);
	*upto = r.end;
}

static void check_cover(const evn_plan_shape *s, const evn_split *split, uint32_t head_grain)
{
	uint32_t vocab = 0;
	for (uint32_t i = 0; i < s->n_layers; i++) {
		uint32_t heads = 0, ff[EVN_PHASES] = {0};
		for (uint32_t r = 0; r < split->n_ranks; r++) {
			check_step(&heads, layer_of(split, i, r)->heads, s->n_heads, head_grain);
			for (int phase = 0; phase < EVN_PHASES; phase++)
				check_step(&ff[phase], layer_of(split, i, r)->ff[phase], s->ff_dim, s->ff_grain);
		}
		assert_int_equal(heads, s->n_heads);
		assert_int_equal(ff[EVN_DECODE], s->ff_dim);
		assert_int_equal(ff[EVN_PROMPT], s->ff_dim);
	}
	for (uint32_t r = 0; r < split->n_ranks; r++)
		check_step(&vocab, split->vocab[r], s->vocab, s->vocab_grain);
	assert_int_equal(vocab, s->vocab);
}

typedef struct {
	uint64_t total;
	uint32_t least, most; /* the least and the most of one layer */
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

static void check_ff_ratio(const evn_plan_shape *s, const evn_split *split, evn_phase phase, const double *shares)
{
	for (uint32_t r = 0; r < split->n_ranks; r++) {
		count ff = {.least = UINT32_MAX};
		for (uint32_t i = 0; i < s->n_layers; i++)
			add_range(&ff, layer_of(split, i, r)->ff[phase]);
		check_count(ff, shares[r] / sum_of(shares, split->n_ranks), (double)s->n_layers * s->ff_dim, s->ff_grain);
	}
}

static void check_ratio(const evn_plan_shape *s, const evn_split *split, const double *shares,
						const double *prompt_shares)
{
	for (uint32_t r = 0; r < split->n_ranks; r++) {
		const double share = shares[r] / sum_of(shares, split->n_ranks);
		count heads = {.least = UINT32_MAX}, vocab = heads;
		for (uint32_t i = 0; i < s->n_layers; i++)
			add_range(&heads, layer_of(split, i, r)->heads);
		add_range(&vocab, split->vocab[r]);
		check_count(heads, share, (double)s->n_layers * s->n_heads, 1);
		check_count(vocab, share, s->vocab, s->vocab_grain);
	}
	check_ff_ratio(s, split, EVN_DECODE, shares);
	check_ff_ratio(s, split, EVN_PROMPT, prompt_shares);
}

static void check_same(const evn_split *a, const evn_split *b)
{
	assert_int_equal(a->n_ranks, b->n_ranks);
	assert_int_equal(a->n_layers, b->n_layers);
	assert_memory_equal(a->layers, b->layers, sizeof *a->layers * a->n_ranks * a->n_layers);
	assert_memory_equal(a->vocab, b->vocab, sizeof *a->vocab * a->n_ranks);
}

static void any_shares_are_kept_to_the_grain(void **state)
{
	(void)state;
	uint64_t random = 1;
	for (int i = 0; i < 4000; i++) {
		evn_plan_shape s = random_shape(&random);
		double shares[EVN_MAX_RANKS], sum = 0;
		uint32_t n = random_shares(shares, &random);
		evn_split split, again;
		assert_int_equal(evn_split_make(&split, &s, n, shares, NULL, any_memory, NULL), EVN_OK);
		assert_int_equal(evn_split_make(&again, &s, n, shares, NULL, any_memory, NULL), EVN_OK);
		check_cover(&s, &split, 1);
		check_ratio(&s, &split, shares, shares);
		check_same(&split, &again);
		for (uint32_t r = 0; r < n; r++)
			sum += evn_split_share(&s, &split, r, EVN_DECODE);
		assert_true(fabs(sum - 1) < 1e-9);
		evn_split_free(&split);
		evn_split_free(&again);
	}
}

static void odd_heads_alternate_between_layers(void **state)
{
	(void)state;
	evn_plan_shape s = small_shape(2048);
	evn_split split;
	uint32_t n_first = 0;
	assert_int_equal(evn_split_make(&split, &s, 2, (double[]){1, 1}, NULL, any_memory, NULL), EVN_OK);
	for (uint32_t i = 0; i + 1 < s.n_layers; i++) /* what one has more of, the other has more of in the next */
		assert_int_equal(
			evn_range_len(layer_of(&split, i, 0)->heads) + evn_range_len(layer_of(&split, i + 1, 0)->heads), 9);
	for (uint32_t i = 0; i < s.n_layers; i++)
		n_first += evn_range_len(layer_of(&split, i, 0)->heads);
	assert_int_equal(n_first, 135);
	assert_int_equal(evn_range_len(split.vocab[0]), 49152 / 2);
	assert_true(fabs(evn_split_share(&s, &split, 0, EVN_DECODE) - 0.5) < 0.01);
	evn_split_free(&split);
}

static void a_straddling_kv_head_is_held_twice(void **state)
{
	(void)state;
	evn_plan_shape s = small_shape(2048);
	evn_split split;
	evn_range kv0 = evn_kv_range(&s, (evn_range){0, 4}), kv1 = evn_kv_range(&s, (evn_range){4, 9});
	assert_int_equal(kv0.begin, 0);
	assert_int_equal(kv0.end, 2);
	assert_int_equal(kv1.begin, 1);
	assert_int_equal(kv1.end, 3);
	assert_int_equal(evn_range_len(evn_kv_range(&s, (evn_range){4, 4})), 0);
	assert_int_equal(evn_range_len(evn_kv_range(&s, (evn_range){3, 6})), 1);

	uint64_t one = s.fixed_bytes + s.n_layers * (9 * s.head_bytes + 3 * (s.kv_head_bytes + s.kv_cache_bytes)) +
				   s.n_layers * 1536 * s.ff_unit_bytes + 49152 * s.vocab_row_bytes;
	assert_int_equal(evn_split_make(&split, &s, 1, (double[]){1}, NULL, any_memory, NULL), EVN_OK);
	assert_int_equal(evn_split_bytes(&s, &split, 0), one);
	evn_split_free(&split);
	assert_int_equal(evn_split_make(&split, &s, 2, (double[]){1, 1}, NULL, any_memory, NULL), EVN_OK);
	assert_int_equal(evn_split_bytes(&s, &split, 0) + evn_split_bytes(&s, &split, 1),
					 one + s.fixed_bytes + s.n_layers * (s.kv_head_bytes + s.kv_cache_bytes));
	evn_split_free(&split);
}

/* Three ranks hold three times the bytes of a peer each, and a limit below that leaves a rank nothing. */
static void messages_are_held_for_every_rank(void **state)
{
	(void)state;
	evn_plan_shape s = small_shape(2048);
	evn_split split;
	uint64_t before[3];
	assert_int_equal(evn_split_make(&split, &s, 3, (double[]){1, 1, 1}, NULL, any_memory, NULL), EVN_OK);
	for (uint32_t r = 0; r < 3; r++)
		before[r] = evn_split_bytes(&s, &split, r);
	evn_split_free(&split);
	s.peer_bytes = 5 * MIB;
	assert_int_equal(evn_split_make(&split, &s, 3, (double[]){1, 1, 1}, NULL, any_memory, NULL), EVN_OK);
	for (uint32_t r = 0; r < 3; r++)
		assert_int_equal(evn_split_bytes(&s, &split, r), before[r] + 15 * MIB);
	evn_split_free(&split);
	const uint64_t memory[3] = {s.fixed_bytes + 14 * MIB, UINT64_MAX, UINT64_MAX};
	assert_int_equal(evn_split_make(&split, &s, 3, (double[]){1, 1, 1}, NULL, memory, NULL), EVN_OK);
	assert_int_equal(evn_split_bytes(&s, &split, 0), evn_plan_fixed_bytes(&s, 3));
	assert_int_equal(evn_range_len(split.vocab[0]), 0);
	evn_split_free(&split);
}

static void a_share_of_zero_gets_nothing(void **state)
{
	(void)state;
	evn_plan_shape s = small_shape(2048);
	static const double shares[][3] = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}, {0.1, 0, 0.7}};
	for (size_t k = 0; k < sizeof shares / sizeof *shares; k++) {
		evn_split split;
		assert_int_equal(evn_split_make(&split, &s, 3, shares[k], NULL, any_memory, NULL), EVN_OK);
		check_cover(&s, &split, 1);
		check_ratio(&s, &split, shares[k], shares[k]);
		for (uint32_t r = 0; r < 3; r++)
			assert_int_equal(evn_split_bytes(&s, &split, r) == s.fixed_bytes, shares[k][r] <= 0);
		evn_split_free(&split);
	}
}

static void a_rank_without_heads_still_has_the_rest(void **state)
{
	(void)state;
	evn_plan_shape s = small_shape(2048);
	s.n_heads = s.n_kv_heads = 1;
	s.n_layers = 4;
	evn_split split;
	uint32_t n_idle = 0;
	double shares[8] = {1, 1, 1, 1, 1, 1, 1, 1};
	assert_int_equal(evn_split_make(&split, &s, 8, shares, NULL, any_memory, NULL), EVN_OK);
	check_cover(&s, &split, 1);
	for (uint32_t r = 0; r < 8; r++) {
		uint32_t n_heads = 0;
		for (uint32_t i = 0; i < s.n_layers; i++)
			n_heads += evn_range_len(layer_of(&split, i, r)->heads);
		n_idle += n_heads == 0;
		assert_int_equal(evn_range_len(layer_of(&split, 0, r)->ff[EVN_DECODE]), 1536 / 8);
		assert_int_equal(evn_range_len(split.vocab[r]), 49152 / 8);
	}
	assert_int_equal(n_idle, 4);
	evn_split_free(&split);
}

static void extreme_weights_do_not_overflow(void **state)
{
	(void)state;
	evn_plan_shape s = small_shape(2048);
	static const double shares[][2] = {{1.7e308, 1.7e308}, {5e-324, 5e-324}};
	for (int k = 0; k < 2; k++) {
		evn_split split;
		assert_int_equal(evn_split_make(&split, &s, 2, shares[k], NULL, any_memory, NULL), EVN_OK);
		check_ratio(&s, &split, (double[]){1, 1}, (double[]){1, 1});
		evn_split_free(&split);
	}
}

/* ---- memory ---------------------------------------------------------------------------------------------- */

/* What cuts at whole units can leave unused on one rank: a unit of each kind at either end of its range. */
static double grain_bytes(const evn_plan_shape *s)
{
	uint32_t group = s->n_heads / s->n_kv_heads;
	return 2.0 *
		   ((double)group * (double)s->head_bytes + (double)s->kv_head_bytes + (double)s->kv_cache_bytes +
			(double)s->ff_grain * (double)s->ff_unit_bytes + (double)s->vocab_grain * (double)s->vocab_row_bytes);
}

static uint64_t random_memory(uint64_t *memory, const evn_plan_shape *s, uint32_t n, uint64_t *random)
{
	evn_split whole;
	assert_int_equal(evn_split_make(&whole, s, 1, (double[]){1}, NULL, any_memory, NULL), EVN_OK);
	uint64_t need = evn_split_bytes(s, &whole, 0) - s->fixed_bytes;
	for (uint32_t r = 0; r < n; r++) {
		double part = random_in(random, 0, 2000) * 1e-3 / n;
		memory[r] = s->fixed_bytes + (uint64_t)((double)need * part);
		if (random_in(random, 0, 9) == 0)
			memory[r] = s->fixed_bytes / 2;
		if (random_in(random, 0, 9) == 0)
			memory[r] = UINT64_MAX;
	}
	evn_split_free(&whole);
	return need;
}

static void check_fits(const evn_plan_shape *s, const evn_split *split, const uint64_t *memory)
{
	check_cover(s, split, 1);
	for (uint32_t r = 0; r < split->n_ranks; r++) {
		uint64_t bytes = evn_split_bytes(s, split, r);
		assert_true(bytes <= memory[r] || bytes == s->fixed_bytes);
	}
}

/* What a rank holds: the units of both phases and those between. */
static void check_held(const evn_plan_shape *s, const evn_split *split)
{
	for (uint32_t i = 0; i < s->n_layers; i++)
		for (uint32_t r = 0; r < split->n_ranks; r++) {
			const evn_layer_split *l = layer_of(split, i, r);
			evn_range held = evn_ff_held(l);
			uint32_t longest = 0;
			for (int phase = 0; phase < EVN_PHASES; phase++) {
				evn_range ff = l->ff[phase];
				longest += evn_range_len(ff);
				assert_true(!evn_range_len(ff) || (held.begin <= ff.begin && ff.end <= held.end));
			}
			assert_true((longest == 0) == (evn_range_len(held) == 0));
		}
}

static bool has_one_layout(const evn_plan_shape *s, const evn_split *split)
{
	bool one = true;
	for (uint32_t i = 0; i < s->n_layers * split->n_ranks; i++)
		one &= !memcmp(&split->layers[i].ff[EVN_DECODE], &split->layers[i].ff[EVN_PROMPT], sizeof(evn_range));
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
		evn_plan_shape s = random_shape(&random);
		double shares[EVN_MAX_RANKS] = {0}, prompt_shares[EVN_MAX_RANKS] = {0}, sum = 0;
		uint64_t memory[EVN_MAX_RANKS];
		uint32_t n = random_shares(shares, &random), other = random_shares(prompt_shares, &random);
		n = other > n ? other : n;
		evn_split split, tight;
		assert_int_equal(evn_split_make(&split, &s, n, shares, prompt_shares, any_memory, NULL), EVN_OK);
		assert_false(split.one_layout);
		check_cover(&s, &split, 1);
		check_ratio(&s, &split, shares, prompt_shares);
		check_held(&s, &split);
		for (uint32_t r = 0; r < n; r++) {
			sum += evn_split_share(&s, &split, r, EVN_PROMPT);
			memory[r] = evn_split_bytes(&s, &split, r);
		}
		assert_true(fabs(sum - 1) < 1e-9);
		assert_int_equal(evn_split_make(&tight, &s, n, shares, prompt_shares, memory, NULL), EVN_OK);
		check_same(&split, &tight);
		evn_split_free(&tight);
		memory[0]--;
		if (memory[0] >= s.fixed_bytes &&
			evn_split_make(&tight, &s, n, shares, prompt_shares, memory, NULL) == EVN_OK) {
			check_fits(&s, &tight, memory);
			assert_true(has_one_layout(&s, &tight));
			n_one += tight.one_layout;
			evn_split_free(&tight);
		}
		evn_split_free(&split);
	}
	assert_true(n_one > 100);
}

static void memory_limits_are_respected(void **state)
{
	(void)state;
	uint64_t random = 7;
	int n_fits = 0, n_not = 0;
	for (int i = 0; i < 4000; i++) {
		evn_plan_shape s = random_shape(&random);
		double shares[EVN_MAX_RANKS], room = 0;
		uint64_t memory[EVN_MAX_RANKS];
		uint32_t n = random_shares(shares, &random);
		uint64_t need = random_memory(memory, &s, n, &random);
		evn_split split;
		evn_error err;
		evn_status status = evn_split_make(&split, &s, n, shares, NULL, memory, &err);
		if (status == EVN_OK) {
			check_fits(&s, &split, memory);
			evn_split_free(&split);
			n_fits++;
			continue;
		}
		assert_int_equal(status, EVN_ERR_LIMIT);
		assert_null(split.layers);
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
	evn_plan_shape s = small_shape(0);
	evn_split split;
	uint64_t memory[] = {10 * MIB, UINT64_MAX, UINT64_MAX};
	assert_int_equal(evn_split_make(&split, &s, 3, (double[]){2, 1, 3}, NULL, memory, NULL), EVN_OK);
	check_fits(&s, &split, memory);
	assert_true(evn_split_bytes(&s, &split, 0) > 9 * MIB);
	double ratio = evn_split_share(&s, &split, 2, EVN_DECODE) / evn_split_share(&s, &split, 1, EVN_DECODE);
	assert_true(fabs(ratio - 3) < 0.1);
	evn_split_free(&split);

	memory[1] = 20 * MIB; /* fits its own share, but not what rank 0 leaves */
	assert_int_equal(evn_split_make(&split, &s, 3, (double[]){2, 1, 3}, NULL, memory, NULL), EVN_OK);
	check_fits(&s, &split, memory);
	assert_true(evn_split_bytes(&s, &split, 1) > 18 * MIB);
	evn_split_free(&split);
}

static void tight_memory_keeps_kv_groups_whole(void **state)
{
	(void)state;
	evn_plan_shape s = small_shape(8192);
	evn_split split;
	uint64_t per_rank = s.fixed_bytes + s.n_layers * (3 * s.head_bytes + s.kv_head_bytes + s.kv_cache_bytes) +
						(s.n_layers * 1536 * s.ff_unit_bytes + 49152 * s.vocab_row_bytes) / 3 + MIB / 4;
	uint64_t memory[] = {2 * per_rank, per_rank};
	assert_int_equal(evn_split_make(&split, &s, 2, (double[]){1, 1}, NULL, memory, NULL), EVN_OK);
	check_fits(&s, &split, memory);
	check_cover(&s, &split, 3);
	evn_split_free(&split);
}

static void what_is_missing_is_said(void **state)
{
	(void)state;
	evn_plan_shape s = small_shape(0);
	evn_split split;
	evn_error err;
	assert_int_equal(evn_split_make(&split, &s, 1, (double[]){1}, NULL, any_memory, NULL), EVN_OK);
	uint64_t need = evn_split_bytes(&s, &split, 0);
	evn_split_free(&split);
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
	check_fits(&s, &split, memory);
	evn_split_free(&split);
}

static void sizes_beyond_64_bits_do_not_wrap(void **state)
{
	(void)state;
	evn_plan_shape s = small_shape(0);
	s.kv_cache_bytes = UINT64_MAX / 2;
	uint64_t memory = GIB;
	evn_split split;
	assert_int_equal(evn_split_make(&split, &s, 1, (double[]){1}, NULL, &memory, NULL), EVN_ERR_LIMIT);
}

static void wrong_use_is_refused(void **state)
{
	(void)state;
	evn_plan_shape s = small_shape(0), odd = s, empty = s;
	evn_split split;
	evn_error err;
	static const double bad[][2] = {{0, 0}, {-1, 1}, {NAN, 1}, {1, INFINITY}};
	static const char *const says[] = {"every share is 0", "rank 0 is -1", "rank 0 is ", "rank 1 is inf"};
	for (int k = 0; k < 4; k++) {
		assert_int_equal(evn_split_make(&split, &s, 2, bad[k], NULL, any_memory, &err), EVN_ERR_USAGE);
		assert_non_null(strstr(err.text, says[k]));
	}
	double shares[EVN_MAX_RANKS + 1] = {1};
	assert_int_equal(evn_split_make(&split, &s, 0, shares, NULL, any_memory, NULL), EVN_ERR_USAGE);
	assert_int_equal(evn_split_make(&split, &s, EVN_MAX_RANKS + 1, shares, NULL, any_memory, NULL), EVN_ERR_USAGE);
	odd.n_kv_heads = 2;
	assert_int_equal(evn_split_make(&split, &odd, 1, shares, NULL, any_memory, &err), EVN_ERR_USAGE);
	assert_non_null(strstr(err.text, "9 heads"));
	empty.ff_grain = 0;
	assert_int_equal(evn_split_make(&split, &empty, 1, shares, NULL, any_memory, NULL), EVN_ERR_USAGE);
	assert_null(split.layers);
	evn_split_free(&split);
	evn_split_free(NULL);
}

static void without_layers_the_vocabulary_is_cut(void **state)
{
	(void)state;
	const evn_plan_shape s = {.dim = 5, .vocab = 10, .vocab_grain = 1, .vocab_row_bytes = 20, .fixed_bytes = 1000};
	evn_split split;
	const double shares[] = {3, 5, 2};
	assert_int_equal(evn_split_make(&split, &s, 3, shares, NULL, any_memory, NULL), EVN_OK);
	for (uint32_t r = 0, at = 0; r < 3; r++) {
		assert_int_equal(split.vocab[r].begin, at);
		assert_int_equal(evn_range_len(split.vocab[r]), shares[r]);
		assert_int_equal(evn_split_bytes(&s, &split, r), 1000 + 20 * shares[r]);
		assert_true(fabs(evn_split_share(&s, &split, r, EVN_DECODE) - shares[r] / 10) < 1e-12);
		at = split.vocab[r].end;
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
