#include "proof/check.h"

#include <math.h>
#include <stdlib.h>

#include "nn/weights.h"

#define UNIT 0x1p-24   /* half a unit of the last place of an f32 between 1 and 2 */
#define GROUP 32u      /* values of a quantised block, or a part of them */
#define ACT_ERROR 1e-4 /* of an exponential and a division, relative; OpenCL allows far less */
#define STEEPEST 1.2   /* the largest slope of SiLU and of GELU is 1.1 */
#define ROUNDING 0.51  /* of a value that is stored as a whole multiple of a scale */

/* One row that is compared. */
typedef struct {
	double want, bound;
} expected;

/* The pieces that all rows of a check share. */
typedef struct {
	const evn_tap *t;
	const evn_block *b;
	const evn_block_view *y;
	evn_block_weights weights;
	float *row; /* of a tensor */
} check;

/* Row `at` of a tensor, columns [begin, begin + n), times x. Each of n products and sums may be rounded once. A
 * quantised weight can be the difference of two terms, of which none is above twice the largest weight of its
 * group. */
static evn_status multiply(const check *c, const evn_affine *a, uint64_t at, uint32_t begin, uint32_t n,
						   const float *x, expected *out, evn_error *err)
{
	double sum = 0, magnitudes = 0;
	EVN_TRY(evn_tensor_rows(a->weight, at, 1, c->row, err));
	for (uint32_t i = 0; i < n;) {
		const uint32_t end = i + GROUP < n ? i + GROUP : n;
		double largest = 0, inputs = 0;
		for (; i < end; i++) {
			const double w = (double)c->row[begin + i], v = (double)x[i];
			sum += w * v;
			largest = fmax(largest, fabs(w));
			inputs += fabs(v);
		}
		magnitudes += 3 * largest * inputs;
	}
	*out = (expected){sum, (n + 8.0) * UNIT * magnitudes};
	return EVN_OK;
}

static evn_status add_bias(const check *c, const evn_affine *a, uint64_t at, expected *e, evn_error *err)
{
	if (!a->bias)
		return EVN_OK;
	EVN_TRY(evn_tensor_rows(a->bias, 0, 1, c->row, err));
	e->want += (double)c->row[at];
	e->bound += 2 * UNIT * fabs((double)c->row[at]);
	return EVN_OK;
}

static evn_status compare(const check *c, uint32_t column, expected e, evn_error *err)
{
	const evn_row_copy *y = &c->t->y;
	const double got = (double)y->values[column];
	const double bound = e.bound + (y->scales ? ROUNDING * (double)y->scales[column / GROUP] : 0);
	if (fabs(got - e.want) <= bound) /* false for a NaN */
		return EVN_OK;
	return evn_fail(err, EVN_ERR_DEVICE, "a wrong result: layer %u, %s, column %u is %.9g, expected %.9g within %.2g",
					c->b->layer, c->t->product == EVN_TAP_OUT ? c->b->out : c->weights.rows[0].stem, column, got,
					e.want, bound);
}

/* What is no number comes from before, perhaps from another rank: this rank's product says nothing then. */
static bool is_finite(const evn_row_copy *x)
{
	for (uint32_t i = 0; i < x->n; i++)
		if (!isfinite(x->values[i]))
			return false;
	return true;
}

/* A row of W_out: what the rank adds to the sum. */
static evn_status check_out(const check *c, uint64_t random, evn_error *err)
{
	const uint32_t width = c->b->unit_width, n = evn_range_len(c->y->units) * width;
	const uint32_t row = (uint32_t)(random % c->t->y.n);
	expected e;
	EVN_TRY(
		multiply(c, &c->weights.out, row, c->y->units.begin * width, n, c->t->x.values + c->y->out.x_shift, &e, err));
	if (c->y->out.bias)
		EVN_TRY(add_bias(c, &c->weights.out, row, &e, err));
	return compare(c, row, e, err);
}

/* Row k of the i-th stacked matrix of W_in. */
static evn_status multiply_in(const check *c, uint32_t i, uint32_t k, expected *out, evn_error *err)
{
	const evn_affine *a = &c->weights.in[i];
	const evn_range rows = evn_rows_of(&c->weights.rows[i], c->b, c->y->units);
	EVN_TRY(multiply(c, a, rows.begin + k, 0, (uint32_t)a->weight->shape[0], c->t->x.values, out, err));
	return add_bias(c, a, rows.begin + k, out, err);
}

static double activate(evn_nonlinearity act, double v)
{
	const double slope = act == EVN_SILU ? v : 2 * sqrt(2 / acos(-1)) * (v + 0.044715 * v * v * v);
	return v / (1 + exp(-slope));
}

static evn_status check_gated(const check *c, uint64_t random, evn_error *err)
{
	const uint32_t unit = (uint32_t)(random % evn_range_len(c->y->units));
	expected gate, up;
	EVN_TRY(multiply_in(c, 0, unit, &gate, err));
	EVN_TRY(multiply_in(c, 1, unit, &up, err));
	const double active = activate(c->b->feed_forward.act, gate.want),
				 off = STEEPEST * gate.bound + ACT_ERROR * fabs(active);
	const expected e = {active * up.want, off * (fabs(up.want) + up.bound) + fabs(active) * up.bound};
	return compare(c, unit, e, err);
}

/* The last of the stacked matrices: of values, or the only one. */
static evn_status check_plain(const check *c, uint64_t random, evn_error *err)
{
	const uint32_t last = c->weights.n_in - 1;
	const evn_range rows = evn_rows_of(&c->weights.rows[last], c->b, c->y->units);
	const uint32_t row = (uint32_t)(random % evn_range_len(rows));
	expected e;
	EVN_TRY(multiply_in(c, last, row, &e, err));
	return compare(c, c->y->offsets[last] + row, e, err);
}

/* False for what has no reference here: the clamped gate, queries alone, which are rotated in place, and columns that
 * begin inside a block. */
static bool is_possible(const check *c)
{
	const evn_block *b = c->b;
	if (c->t->product == EVN_TAP_OUT)
		return true;
	if (b->kind == EVN_BLOCK_ATTENTION && b->attention.shares)
		return false;
	if (b->kind != EVN_BLOCK_FEED_FORWARD || !b->feed_forward.gated)
		return true;
	return b->feed_forward.act != EVN_CLAMPED && c->y->out.x_shift == 0;
}

evn_status evn_check_product(const evn_tap *t, const evn_view *v, uint64_t seed, uint32_t n, evn_error *err)
{
	const evn_graph *g = v->shard->graph;
	const evn_block *b = &g->blocks[t->block];
	check c = {.t = t, .b = b, .y = evn_view_block(v, t->block, t->phase)};
	if (!t->taken || !is_possible(&c) || !is_finite(&t->x))
		return EVN_OK;
	EVN_TRY(evn_block_weights_find(&c.weights, g, b, err));
	uint64_t longest = g->h->dim;
	for (uint32_t i = 0; i < c.weights.n_in; i++)
		longest = c.weights.in[i].bias && c.weights.in[i].bias->shape[0] > longest ? c.weights.in[i].bias->shape[0]
																				   : longest;
	if (c.weights.out.weight->shape[0] > longest)
		longest = c.weights.out.weight->shape[0];
	c.row = malloc(longest * sizeof *c.row);
	if (!c.row)
		return evn_fail_memory(err, "a row of weights", longest * sizeof *c.row);
	const bool gated = b->kind == EVN_BLOCK_FEED_FORWARD && b->feed_forward.gated;
	evn_status s = EVN_OK;
	for (uint32_t i = 0; i < n && s == EVN_OK; i++) {
		const uint64_t random = evn_hash(seed, &i, sizeof i);
		s = (t->product == EVN_TAP_OUT ? check_out : gated ? check_gated : check_plain)(&c, random, err);
	}
	free(c.row);
	return s;
}
