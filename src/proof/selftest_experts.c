/* selftest_experts.c - known answers for a mixture of experts: the router, whose scores must be the same bits on
 * every device, the choice, the rows of each expert, and products with the experts' matrices. */
#include "nn/ops_experts.h"
#include "proof/selftest_parts.h"

#include <math.h>
#include <string.h>

#define SLICES (EVN_LANE_ITEMS / EVN_TILE_ROWS) /* as in kernels/router.cl */
#define ROUTER_EPS 1e-6f

typedef struct {
	uint32_t n_experts, k, dim, n_rows;
	bool sigmoid, biased;
	uint32_t n_groups, n_used_groups;
} router_shape;

typedef struct {
	const router_shape *s;
	evn_ops *ops;
	evn_routing routing;
	evn_case_array x, norm, w, bias, scores, ranks, choice_bias, weights, experts, places, counts, of_blocks;
	uint32_t stride, padded;
	const uint32_t *chosen, *placed; /* on the host */
} router_run;

/* ---- the router ------------------------------------------------------------------------------------------------ */

/* Two experts are equal, so that rows have equal scores. */
static evn_status make_router(evn_cases *c, router_run *r, evn_error *err)
{
	const router_shape *s = r->s;
	r->stride = (uint32_t)evn_round_up(s->dim, EVN_PAD);
	r->padded = (uint32_t)evn_round_up(s->n_experts, EVN_TILE_ROWS);
	EVN_TRY(evn_case_rows_make(c, &r->x, s->n_rows, r->stride, err));
	EVN_TRY(evn_case_array_make(c, &r->norm, r->stride, err));
	EVN_TRY(evn_case_array_make(c, &r->w, (uint64_t)r->padded * r->stride, err));
	EVN_TRY(evn_case_input(c, &r->bias, r->padded, err));
	for (uint32_t i = 0; i < r->x.room; i++)
		r->x.values[i] = i % r->stride < s->dim ? 3 * r->x.values[i] : 0;
	if (s->n_experts > 2) {
		r->bias.values[2] = r->bias.values[1];
		for (uint32_t i = 0; i < r->stride; i++)
			r->w.values[i * EVN_TILE_ROWS + 2] = r->w.values[i * EVN_TILE_ROWS + 1];
	}
	EVN_TRY(evn_case_upload(c, &r->x, err));
	EVN_TRY(evn_case_upload(c, &r->norm, err));
	EVN_TRY(evn_case_upload(c, &r->w, err));
	return evn_case_upload(c, &r->bias, err);
}

static evn_status make_choice(evn_cases *c, router_run *r, evn_error *err)
{
	const router_shape *s = r->s;
	const uint32_t n_pairs = s->n_rows * s->k, n_blocks = evn_expert_rows(s->n_experts, s->k, s->n_rows);
	EVN_TRY(evn_case_output(c, &r->scores, (uint64_t)s->n_rows * r->padded, err));
	EVN_TRY(evn_case_output(c, &r->ranks, (uint64_t)s->n_rows * r->padded, err));
	EVN_TRY(evn_case_input(c, &r->choice_bias, r->padded, err));
	EVN_TRY(evn_case_output(c, &r->weights, n_pairs, err));
	EVN_TRY(evn_case_input(c, &r->experts, n_pairs, err));
	EVN_TRY(evn_case_input(c, &r->places, n_pairs, err));
	EVN_TRY(evn_case_input(c, &r->counts, s->n_experts, err));
	EVN_TRY(evn_case_input(c, &r->of_blocks, n_blocks, err));
	r->routing = (evn_routing){.n_experts = s->n_experts,
							   .k = s->k,
							   .normed = true,
							   .sigmoid = s->sigmoid,
							   .n_groups = s->n_groups,
							   .n_used_groups = s->n_used_groups,
							   .choice_bias = s->biased ? r->choice_bias.buf : NULL,
							   .ranks = r->ranks.buf,
							   .factor = 1,
							   .scores = r->scores.buf,
							   .experts = r->experts.buf,
							   .weights = r->weights.buf,
							   .places = r->places.buf,
							   .counts = r->counts.buf,
							   .of_blocks = r->of_blocks.buf};
	return EVN_OK;
}

/* The kernel's own operations in its order. */
static float exact_rsqrt(float v)
{
	uint32_t bits;
	float y;
	memcpy(&bits, &v, sizeof bits);
	bits = 0x5f3759df - (bits >> 1);
	memcpy(&y, &bits, sizeof y);
	for (int i = 0; i < 4; i++) {
		const float step = fmaf(-0.5f * v * y, y, 1.5f);
		y *= step;
	}
	return y;
}

static float exact_score(const router_run *r, const float *x, uint32_t e)
{
	const float *tile = r->w.values + (uint64_t)(e / EVN_TILE_ROWS) * r->stride * EVN_TILE_ROWS + e % EVN_TILE_ROWS;
	float sum = 0, squares = 0;
	for (uint32_t slice = 0; slice < SLICES; slice++) {
		float part = 0, part_of_squares = 0;
		for (uint32_t i = slice; i < r->stride; i += SLICES) {
			const float normed = x[i] * r->norm.values[i];
			part = fmaf(tile[(uint64_t)i * EVN_TILE_ROWS], normed, part);
			part_of_squares = fmaf(x[i], x[i], part_of_squares);
		}
		sum += part;
		squares += part_of_squares;
	}
	return fmaf(sum, exact_rsqrt(fmaf(squares, 1.0f / (float)r->s->dim, ROUTER_EPS)), r->bias.values[e]);
}

/* The same in f64, with the error of sums. */
static void compare_f64(evn_cases *c, const router_run *r, const float *x, uint32_t e, float score)
{
	const float *tile = r->w.values + (uint64_t)(e / EVN_TILE_ROWS) * r->stride * EVN_TILE_ROWS + e % EVN_TILE_ROWS;
	double sum = 0, magnitude = 0, squares = 0;
	for (uint32_t i = 0; i < r->s->dim; i++) {
		const double term = (double)tile[(uint64_t)i * EVN_TILE_ROWS] * (double)x[i] * (double)r->norm.values[i];
		sum += term;
		magnitude += fabs(term);
		squares += (double)x[i] * (double)x[i];
	}
	const double scale = 1 / sqrt(squares / r->s->dim + (double)ROUTER_EPS), bias = (double)r->bias.values[e];
	evn_case_compare(c, "f64 score", e, (double)score, sum * scale + bias,
					 evn_roundings(2 * r->s->dim + 32) * (magnitude * scale + fabs(bias)), 1);
}

static void expect_scores(evn_cases *c, router_run *r)
{
	for (uint32_t row = 0; row < r->s->n_rows; row++)
		for (uint32_t e = 0; e < r->padded; e++) {
			const float *x = r->x.values + (uint64_t)row * r->stride;
			const float score = exact_score(r, x, e);
			r->scores.want[(uint64_t)row * r->padded + e] = (double)score;
			r->scores.bound[(uint64_t)row * r->padded + e] = 0;
			compare_f64(c, r, x, e, score);
		}
}

/* ---- the choice ------------------------------------------------------------------------------------------------ */

/* The kernel's own operations in its order. */
static float biased_logistic(float score, float bias)
{
	static const float factors[] = {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f,
									5.0000001201e-1f};
	const float x = -fminf(fabsf(score), 80), whole = fmaf(x, 1.44269504f, 12582912.0f) - 12582912.0f;
	const float rest = fmaf(whole, 2.12194440e-4f, fmaf(whole, -0.693359375f, x)), square = rest * rest;
	float p = 1.9875691500e-4f;
	for (size_t i = 0; i < sizeof factors / sizeof *factors; i++)
		p = fmaf(p, rest, factors[i]);
	const float t = ldexpf(fmaf(p, square, rest) + 1.0f, (int)whole), v = t + 1.0f;
	float y = fmaf(-0.5f, v, 1.457f);
	for (int i = 0; i < 4; i++)
		y = fmaf(y, fmaf(-v, y, 1.0f), y);
	return fmaf(score < 0 ? t : 1.0f, y, bias);
}

/* What decides between groups: the rank of the best expert, or the sum of the best two. */
static float best_of_group(const router_shape *s, const double *ranks, uint32_t group)
{
	const uint32_t in_group = s->n_experts / s->n_groups;
	float first = -INFINITY, second = -INFINITY;
	for (uint32_t e = group * in_group; e < (group + 1) * in_group; e++) {
		second = fmaxf(second, fminf(first, (float)ranks[e]));
		first = fmaxf(first, (float)ranks[e]);
	}
	return s->biased ? first + second : first;
}

/* Takes the groups with the largest values out of the row's ranks, one after the other; the rest is not chosen. */
static void leave_groups(const router_shape *s, double *ranks)
{
	float values[EVN_EXPERT_GROUPS];
	const uint32_t in_group = s->n_groups ? s->n_experts / s->n_groups : 0;
	bool used[EVN_EXPERT_GROUPS] = {false};
	for (uint32_t g = 0; g < s->n_groups; g++)
		values[g] = best_of_group(s, ranks, g);
	for (uint32_t n = 0; n < s->n_used_groups; n++) {
		uint32_t best = s->n_groups;
		for (uint32_t g = 0; g < s->n_groups; g++)
			if (!used[g] && (best == s->n_groups || values[g] > values[best]))
				best = g;
		used[best] = true;
	}
	for (uint32_t e = 0; e < s->n_experts && s->n_groups; e++)
		ranks[e] = used[e / in_group] ? ranks[e] : -INFINITY;
}

/* Ranks by the scores, to the bit; those of biased experts also near their values in f64. */
static evn_status check_ranks(evn_cases *c, router_run *r, evn_error *err)
{
	const router_shape *s = r->s;
	for (uint32_t row = 0; row < s->n_rows; row++) {
		double *ranks = r->ranks.want + (uint64_t)row * r->padded;
		for (uint32_t e = 0; e < s->n_experts; e++) {
			const double score = r->scores.want[(uint64_t)row * r->padded + e],
						 bias = (double)r->choice_bias.values[e];
			const double want = 1 / (1 + exp(-score)) + bias;
			ranks[e] = s->biased ? (double)biased_logistic((float)score, (float)bias) : score;
			if (s->biased)
				evn_case_compare(c, "f64 rank", e, ranks[e], want, evn_roundings(8) * (1 + fabs(bias)), 1);
		}
		leave_groups(s, ranks);
	}
	if (!s->biased && !s->n_groups)
		return EVN_OK; /* they are the scores, and nothing has written them */
	const float *got;
	void *read;
	EVN_TRY(evn_case_memory(c, &read, r->ranks.n * sizeof(float), err));
	EVN_TRY(evn_read(c->q, r->ranks.buf, 0, read, r->ranks.n * sizeof(float), err));
	got = read;
	for (uint64_t i = 0; i < r->ranks.n; i++) {
		const double want = r->ranks.want[i];
		if (i % r->padded < s->n_experts)
			evn_case_compare(c, "rank", i, isinf(want) && (double)got[i] == want ? 0 : (double)got[i],
							 isinf(want) ? 0 : want, 0, 1);
	}
	return EVN_OK;
}

/* The k largest ranks in their order, by selection. */
static void check_choice(evn_cases *c, router_run *r, uint32_t row, bool *taken)
{
	const router_shape *s = r->s;
	const double *scores = r->scores.want + (uint64_t)row * r->padded,
				 *ranks = r->ranks.want + (uint64_t)row * r->padded;
	double most = -INFINITY, sum = 0;
	memset(taken, 0, s->n_experts * sizeof *taken);
	for (uint32_t e = 0; e < s->n_experts; e++)
		most = fmax(most, scores[e]);
	for (uint32_t e = 0; e < s->n_experts; e++)
		sum += exp(scores[e] - most);
	for (uint32_t i = 0; i < s->k; i++) {
		const uint64_t pair = (uint64_t)row * s->k + i;
		uint32_t best = s->n_experts;
		for (uint32_t e = 0; e < s->n_experts; e++)
			if (!taken[e] && (best == s->n_experts || ranks[e] > ranks[best]))
				best = e;
		taken[best] = true;
		evn_case_compare(c, "expert", pair, r->chosen[pair], best, 0, 1);
		const double rounded = EVN_UNIT * fabs(scores[best] - most) + 2 * EVN_EXP_ERROR + EVN_DIVIDE_ERROR;
		r->weights.want[pair] = s->sigmoid ? 1 / (1 + exp(-scores[best])) : exp(scores[best] - most) / sum;
		r->weights.bound[pair] = (rounded + EVN_UNIT * 64 + evn_roundings(s->n_experts + 2)) * r->weights.want[pair];
	}
}

static evn_status read_words(evn_cases *c, const evn_case_array *a, const uint32_t **out, evn_error *err)
{
	void *words;
	EVN_TRY(evn_case_memory(c, &words, a->n * sizeof(uint32_t), err));
	*out = words;
	return evn_read(c->q, a->buf, 0, words, a->n * sizeof(uint32_t), err);
}

static evn_status check_choices(evn_cases *c, router_run *r, evn_error *err)
{
	void *taken;
	EVN_TRY(check_ranks(c, r, err));
	EVN_TRY(evn_case_memory(c, &taken, r->s->n_experts * sizeof(bool), err));
	EVN_TRY(read_words(c, &r->experts, &r->chosen, err));
	for (uint32_t row = 0; row < r->s->n_rows; row++)
		check_choice(c, r, row, taken);
	return evn_case_check(c, &r->weights, "weight", err);
}

/* ---- the rows of experts --------------------------------------------------------------------------------------- */

/* Each pair has a row of its own in a block of its expert. */
static evn_status check_places(evn_cases *c, router_run *r, const evn_expert_set *set, evn_error *err)
{
	const uint32_t *of_blocks;
	void *memory;
	EVN_TRY(read_words(c, &r->places, &r->placed, err));
	EVN_TRY(read_words(c, &r->of_blocks, &of_blocks, err));
	EVN_TRY(evn_case_memory(c, &memory, set->n * sizeof(bool), err));
	bool *taken = memory;
	for (uint32_t i = 0; i < r->places.n; i++) {
		const uint32_t place = r->placed[i];
		evn_case_compare(c, "place", i, place, place < set->n ? place : set->n - 1, 0, 1);
		if (place >= set->n)
			return EVN_OK;
		evn_case_compare(c, "row that is taken", place, taken[place], 0, 0, 1);
		taken[place] = true;
		if (set->grouped)
			evn_case_compare(c, "expert of a block", place, of_blocks[place / EVN_BLOCK_TOKENS], r->chosen[i], 0, 1);
	}
	for (uint32_t b = 0; b < set->n / EVN_BLOCK_TOKENS && set->grouped; b++)
		if (!taken[b * EVN_BLOCK_TOKENS])
			evn_case_compare(c, "block of nobody", b, of_blocks[b], EVN_NO_EXPERT, 0, 1);
	return EVN_OK;
}

/* What the sum of a row is multiplied by, where all its experts say the same: the mean of their scales, or 1. The
 * scales are what the router adds. The error is a fraction of *size. */
static double mean_scale(const router_run *r, uint32_t row, bool scaled, double *size, double *error)
{
	double all = 0, sum = 0, most = 0;
	*size = 0;
	for (uint32_t i = row * r->s->k; i < (row + 1) * r->s->k; i++) {
		const double weight = r->weights.want[i], scale = scaled ? (double)r->bias.values[r->chosen[i]] : 1;
		all += weight;
		sum += weight * scale;
		*size += weight * fabs(scale);
		most = fmax(most, r->weights.bound[i] / weight);
	}
	*size /= all;
	*error = EVN_DIVIDE_ERROR + evn_roundings(3 * r->s->k + 3) + (scaled ? 2 * most : 0);
	return sum / all;
}

static evn_status check_sums(evn_cases *c, router_run *r, const evn_case_array *at_places, bool scaled,
							 evn_error *err)
{
	const router_shape *s = r->s;
	evn_routing of = r->routing;
	evn_case_array sums;
	of.scales = scaled ? r->bias.buf : NULL;
	of.factor = scaled ? 1.5f : 1;
	EVN_TRY(evn_case_rows_output(c, &sums, s->n_rows, r->stride, err));
	for (uint32_t row = 0; row < s->n_rows; row++) {
		double size, error;
		const double mean = mean_scale(r, row, scaled, &size, &error);
		for (uint32_t j = 0; j < r->stride; j++) {
			const uint64_t i = (uint64_t)row * r->stride + j;
			sums.want[i] = (double)r->x.values[i] * mean * (double)of.factor;
			sums.bound[i] = error * size * fabs((double)r->x.values[i]) * (double)of.factor;
		}
	}
	EVN_TRY(evn_op_add_experts(r->ops, &of, sums.buf, at_places->buf, r->stride, s->n_rows, err));
	return evn_case_check(c, &sums, scaled ? "sum of experts with scales" : "sum of experts", err);
}

/* Rows go to their places, and the sum of a row comes back from there. */
static evn_status check_rows(evn_cases *c, router_run *r, const evn_expert_set *set, evn_error *err)
{
	const router_shape *s = r->s;
	evn_case_array at_places;
	EVN_TRY(evn_case_rows_output(c, &at_places, set->n, r->stride, err));
	for (uint32_t i = 0; i < r->places.n; i++)
		for (uint32_t j = 0; j < r->stride; j++)
			at_places.want[(uint64_t)r->placed[i] * r->stride + j] =
				(double)r->x.values[(uint64_t)(i / s->k) * r->stride + j];
	EVN_TRY(evn_op_gather(r->ops, &r->routing, EVN_ACT_F32, at_places.buf, r->x.buf, r->stride, s->n_rows, err));
	EVN_TRY(evn_case_check(c, &at_places, "row at its place", err));
	EVN_TRY(check_sums(c, r, &at_places, false, err));
	return check_sums(c, r, &at_places, true, err);
}

/* The first expert's score says the share of a shared expert. */
static evn_status check_shared(evn_cases *c, router_run *r, const evn_router *router, bool adds, evn_error *err)
{
	const router_shape *s = r->s;
	evn_case_array sums;
	EVN_TRY(evn_case_rows_output(c, &sums, s->n_rows, r->stride, err));
	for (uint64_t i = 0; i < sums.n; i++) {
		const double score = r->scores.want[i / r->stride * r->padded], share = router->w ? 1 / (1 + exp(-score)) : 1;
		const double added = share * (double)r->x.values[i], before = adds ? (double)sums.values[i] : 0;
		sums.want[i] = before + added;
		sums.bound[i] =
			(EVN_EXP_ERROR + EVN_DIVIDE_ERROR + evn_roundings(4)) * fabs(added) + EVN_UNIT * fabs(sums.want[i]);
	}
	EVN_TRY(evn_op_add_shared(r->ops, &r->routing, router, r->x.buf,
							  &(evn_shared_rows){sums.buf, r->x.buf, r->stride, s->n_rows, adds}, err));
	return evn_case_check(c, &sums, "sum with a shared expert", err);
}

static evn_status run_router(evn_cases *c, router_run *r, evn_error *err)
{
	const evn_router router = {
		.w = r->w.buf, .norm = r->norm.buf, .bias = r->bias.buf, .dim = r->s->dim, .eps = ROUTER_EPS};
	evn_expert_set set;
	EVN_TRY(evn_op_choose(r->ops, &r->routing, &router, r->x.buf, r->stride, r->s->n_rows, err));
	expect_scores(c, r);
	EVN_TRY(evn_case_check(c, &r->scores, "score", err));
	EVN_TRY(check_choices(c, r, err));
	EVN_TRY(evn_op_group(r->ops, &r->routing, r->s->n_rows, &set, err));
	EVN_TRY(check_places(c, r, &set, err));
	if (c->reason[0])
		return EVN_OK;
	EVN_TRY(check_rows(c, r, &set, err));
	EVN_TRY(check_shared(c, r, &router, true, err));
	EVN_TRY(check_shared(c, r, &router, false, err));
	return check_shared(c, r, &(evn_router){0}, true, err);
}

static evn_status router_case(evn_cases *c, const void *shape, evn_error *err)
{
	const evn_ops_config config = {0};
	router_run r = {.s = shape};
	EVN_TRY(make_router(c, &r, err));
	EVN_TRY(make_choice(c, &r, err));
	evn_status st = evn_ops_create(&r.ops, c->q, &config, err);
	if (st == EVN_OK)
		st = run_router(c, &r, err);
	evn_ops_free(r.ops);
	return st;
}

/* ---- products with the matrices of experts --------------------------------------------------------------------- */

typedef struct {
	const evn_quant *quant;
	evn_dot dot;
	bool grouped;
} product_shape;

#define N_EXPERTS 3u
#define ROWS 37u
#define SHARED 2u /* rows of y for each row of x, if they are not grouped */

/* The last block has no expert; its rows are not compared. */
static const uint32_t experts_of_rows[] = {2, 0, 1, 1, 0, 2}, experts_of_blocks[] = {1, 2, 2, EVN_NO_EXPERT};

typedef struct {
	evn_case_array x, y, experts, biases;
	uint32_t x_stride, y_stride, shared, n;
	evn_expert_set set;
} product_run;

/* m: a view, which gets biases of its experts. */
static evn_status make_product(evn_cases *c, product_run *r, evn_matrix *m, bool grouped, evn_error *err)
{
	const uint32_t *experts = grouped ? experts_of_blocks : experts_of_rows, n = grouped ? 4 : 6;
	const uint32_t n_rows = grouped ? n * EVN_BLOCK_TOKENS : n;
	*r = (product_run){.x_stride = m->columns + EVN_PAD,
					   .y_stride = (uint32_t)evn_round_up(m->rows, EVN_PAD) + EVN_PAD,
					   .shared = grouped ? 1 : SHARED,
					   .n = grouped ? n_rows - EVN_BLOCK_TOKENS : n};
	EVN_TRY(evn_case_rows_make(c, &r->x, n_rows / r->shared, r->x_stride, err));
	for (uint32_t i = 0; i < r->x.n; i++)
		if (i % r->x_stride >= m->columns)
			r->x.values[i] = 0;
	EVN_TRY(evn_case_upload(c, &r->x, err));
	EVN_TRY(evn_case_rows_output(c, &r->y, n_rows, r->y_stride, err));
	r->y.n = (uint64_t)r->n * r->y_stride;
	EVN_TRY(evn_case_array_make(c, &r->experts, n, err));
	memcpy(r->experts.values, experts, n * sizeof *experts);
	m->bias_stride = (uint32_t)evn_round_up(ROWS, EVN_PAD);
	EVN_TRY(evn_case_input(c, &r->biases, (uint64_t)N_EXPERTS * m->bias_stride, err));
	m->bias = r->biases.buf;
	r->set = (evn_expert_set){.experts = r->experts.buf, .n = n_rows, .grouped = grouped};
	return evn_case_upload(c, &r->experts, err);
}

static void expect_products(product_run *r, const evn_weights *w, evn_range rows, evn_range columns)
{
	const uint32_t bias_stride = (uint32_t)(r->biases.n / N_EXPERTS);
	for (uint32_t t = 0; t < r->n; t++) {
		const uint32_t expert = r->set.grouped ? experts_of_blocks[t / EVN_BLOCK_TOKENS] : experts_of_rows[t];
		const evn_row_product p = {.w = w, .columns = columns};
		for (uint32_t row = rows.begin; row < evn_round_up(rows.end, EVN_TILE_ROWS); row++) {
			const uint64_t at = (uint64_t)t * r->y_stride + row - rows.begin;
			double *want = &r->y.want[at], *bound = &r->y.bound[at];
			*want = *bound = 0;
			if (row < rows.end)
				evn_expect_row(&p, expert * ROWS + row, r->x.values + (uint64_t)(t / r->shared) * r->x_stride, want,
							   bound);
			*want += (double)r->biases.values[expert * bias_stride + row];
			*bound += EVN_UNIT * (fabs(*want) + *bound);
		}
	}
}

static evn_status multiply(evn_cases *c, const product_shape *s, evn_matrix *m, const evn_weights *w, evn_range rows,
						   evn_range columns, evn_error *err)
{
	const evn_ops_config config = {.dot = s->dot};
	product_run r;
	evn_ops *ops;
	EVN_TRY(make_product(c, &r, m, s->grouped, err));
	evn_status st = evn_ops_create(&ops, c->q, &config, err);
	const evn_buf *x = r.x.buf;
	if (st == EVN_OK && evn_op_act_format(ops, m, EVN_DECODE) == EVN_ACT_Q8)
		st = evn_case_round(c, ops, &r.x, r.x_stride, &x, err);
	if (st == EVN_OK) {
		expect_products(&r, w, rows, columns);
		st = evn_op_experts(ops, r.y.buf, r.y_stride, x, r.x_stride, r.shared, m, &r.set, EVN_DECODE, err);
	}
	if (st == EVN_OK)
		st = evn_case_check(c, &r.y, "y", err);
	evn_ops_free(ops);
	return st;
}

/* A view of some rows and columns of each expert's matrix, with biases. */
static evn_status product_case(evn_cases *c, const void *shape, evn_error *err)
{
	const product_shape *s = shape;
	const uint32_t step = s->quant->group_len;
	const evn_range rows = {EVN_TILE_ROWS, ROWS}, columns = {step, 3 * step};
	uint32_t y_offset = 0;
	evn_weights w;
	evn_matrix m = {0}, of_rows, view;
	EVN_TRY(evn_case_weights(c, &w, s->quant, N_EXPERTS * ROWS, 3 * step, err));
	w.tensor.shape[1] = ROWS;
	w.tensor.shape[2] = N_EXPERTS;
	evn_status st = evn_matrix_split_output(&m, c->q, &(evn_row_block){&w.tensor, {0, ROWS}}, 1, NULL, err);
	if (st == EVN_OK) {
		evn_matrix_view_output(&of_rows, &m, &(uint32_t){0}, 1, &rows, &y_offset);
		evn_matrix_view_input(&view, &of_rows, columns);
		st = multiply(c, s, &view, &w, rows, columns, err);
	}
	evn_matrix_free(&m);
	return st;
}

static bool has_dot(const evn_cases *c, const evn_quant *q, evn_dot dot)
{
	const evn_device *d = evn_queue_device(c->q);
	const bool reads_bytes = evn_dot_reads_bytes(dot);
	if (!evn_dot_possible(dot, d) || (reads_bytes && q->block_len == 1))
		return false;
	return c->options.dots ? c->options.dots >> dot & 1 : !reads_bytes || dot == evn_dot_best(d);
}

void evn_selftest_experts(evn_cases *c)
{
	static const router_shape shapes[] = {
		{.n_experts = 8, .k = 2, .dim = 72, .n_rows = 3},
		{.n_experts = 5, .k = 5, .dim = 40, .n_rows = 1},
		{.n_experts = 20, .k = 4, .dim = 130, .n_rows = 23},
		{.n_experts = 1, .k = 1, .dim = 32, .n_rows = 9},
		{.n_experts = 8, .k = 3, .dim = 72, .n_rows = 2, .sigmoid = true},
		{.n_experts = 24, .k = 4, .dim = 72, .n_rows = 9, .n_groups = 6, .n_used_groups = 3},
		{.n_experts = 20, .k = 5, .dim = 72, .n_rows = 7, .sigmoid = true, .biased = true},
		{.n_experts = 32,
		 .k = 6,
		 .dim = 72,
		 .n_rows = 9,
		 .sigmoid = true,
		 .biased = true,
		 .n_groups = 8,
		 .n_used_groups = 3}};
	static const char *const formats[] = {"F32", "Q8_0",
										  "Q4_K"}; /* products differ in the format only as matvec does */
	for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
		evn_case_run(c, &(evn_case){router_case, &shapes[i], EVN_ROUTER, NULL}, "%u of %u, %u x%u%s%s", shapes[i].k,
					 shapes[i].n_experts, shapes[i].dim, shapes[i].n_rows, shapes[i].biased ? ", biased" : "",
					 shapes[i].n_groups ? ", in groups" : "");
	for (size_t i = 0; i < evn_quant_count(); i++) {
		const evn_quant *q = evn_quant_at(i);
		bool runs = c->options.quant != NULL;
		for (size_t k = 0; k < sizeof formats / sizeof *formats; k++)
			runs |= !strcmp(q->name, formats[k]) && !(c->options.few_formats && k > 1);
		for (evn_dot dot = EVN_DOT_NONE; dot < EVN_DOT_COUNT && runs; dot++)
			for (int grouped = 0; grouped < 2 && has_dot(c, q, dot); grouped++) {
				const product_shape s = {q, dot, grouped != 0};
				evn_case_run(c, &(evn_case){product_case, &s, EVN_EXPERTS, q}, "%s %s", evn_dot_name(dot),
							 grouped ? "in blocks" : "by rows");
			}
	}
}
