/* selftest_heads.c - known answers for what acts on attention heads: rotary embedding with the append to the KV
 * cache, and attention itself. */
#include "nn/selftest_case.h"

#include <math.h>

#define FIRST_COLUMN 7 /* heads begin here in the attention's output, to see that an offset is heeded */

typedef struct {
	const char *name;
	bool tiny;
	evn_attention_config config;
	evn_attention at;
	uint32_t n_tok;
} head_shape;

typedef evn_status (*head_run)(evn_cases *c, evn_attention_ops *ops, const head_shape *s, evn_error *err);

static evn_status with_ops(evn_cases *c, head_run run, const head_shape *s, evn_error *err)
{
	evn_attention_config config = s->config;
	evn_attention_ops *ops;
	config.items = c->options.items;
	evn_status st = evn_attention_ops_create(&ops, c->q, &config, err);
	if (st == EVN_OK)
		st = run(c, ops, s, err);
	evn_attention_ops_free(ops);
	return st;
}

/* ---- rotary embedding and the append to the cache ----------------------------------------------------------------
 */

/* What one head of q or k becomes. */
typedef struct {
	const evn_attention_config *config;
	const float *rope;   /* (cos, sin) of the token's position */
	const float *weight; /* of the head's norm */
	float eps;
} rotation;

/* The head's elements before they rotate, and their relative error: with a norm as derived for rmsnorm
 * (selftest_rows.c), two more products with scale and weight. */
static double normed(const rotation *r, const float *head, double *out)
{
	const uint32_t dim = r->config->head_dim;
	double squares = 0;
	for (uint32_t i = 0; i < dim; i++)
		squares += (double)head[i] * (double)head[i];
	double scale = 1 / sqrt(squares / dim + (double)r->eps);
	for (uint32_t i = 0; i < dim; i++)
		out[i] = (double)head[i] * (r->config->qk_norm ? scale * (double)r->weight[i] : 1);
	if (!r->config->qk_norm)
		return 0;
	return (evn_roundings(dim) + EVN_DIVIDE_ERROR + EVN_UNIT) / 2 + EVN_SQRT_ERROR + EVN_DIVIDE_ERROR +
		   evn_roundings(3);
}

/* Two products and their difference: two roundings more. */
static void expect_head(const rotation *r, const float *head, double *want, double *bound)
{
	const uint32_t dim = r->config->head_dim, pairs = r->config->rope_dim / 2, pad = evn_head_pad(dim);
	const bool neox = r->config->rope_neox;
	double x[256];
	const double relative = normed(r, head, x);
	for (uint32_t i = 0; i < pad; i++) {
		want[i] = i < dim ? x[i] : 0;
		bound[i] = relative * fabs(want[i]);
	}
	for (uint32_t i = 0; i < pairs; i++) {
		uint32_t a = neox ? i : 2 * i, b = neox ? i + pairs : 2 * i + 1;
		double cosine = (double)r->rope[2 * i], sine = (double)r->rope[2 * i + 1];
		want[a] = x[a] * cosine - x[b] * sine;
		want[b] = x[a] * sine + x[b] * cosine;
		bound[a] = (relative + evn_roundings(3)) * (fabs(x[a] * cosine) + fabs(x[b] * sine));
		bound[b] = (relative + evn_roundings(3)) * (fabs(x[a] * sine) + fabs(x[b] * cosine));
	}
}

static void expect_copy(const float *head, uint32_t dim, double *want)
{
	for (uint32_t i = 0; i < evn_head_pad(dim); i++)
		want[i] = i < dim ? (double)head[i] : 0;
}

typedef struct {
	evn_case_array qkv, rope, q_weight, k_weight, q, k, v;
} append_data;

static evn_status make_append(evn_cases *c, append_data *d, const head_shape *s, const evn_attention *at,
							  evn_error *err)
{
	const uint32_t dim = s->config.head_dim;
	const uint64_t pad = evn_head_pad(dim), cache = (uint64_t)at->n_kv * at->n_ctx * pad;
	EVN_TRY(evn_case_input(c, &d->qkv, (uint64_t)s->n_tok * at->qkv_stride, err));
	EVN_TRY(evn_case_input(c, &d->rope, (uint64_t)at->n_ctx * s->config.rope_dim, err));
	EVN_TRY(evn_case_input(c, &d->q_weight, dim, err));
	EVN_TRY(evn_case_input(c, &d->k_weight, dim, err));
	EVN_TRY(evn_case_output(c, &d->q, s->n_tok * at->n_heads * pad, err));
	EVN_TRY(evn_case_output(c, &d->k, cache, err));
	return evn_case_output(c, &d->v, cache, err);
}

static void expect_append(append_data *d, const head_shape *s, const evn_attention *at, float eps)
{
	const uint32_t dim = s->config.head_dim, pad = evn_head_pad(dim);
	for (uint32_t t = 0; t < s->n_tok; t++) {
		const float *row = d->qkv.values + (uint64_t)t * at->qkv_stride;
		rotation r = {.config = &s->config,
					  .rope = d->rope.values + (uint64_t)(at->position + t) * s->config.rope_dim,
					  .weight = d->q_weight.values,
					  .eps = eps};
		for (uint32_t h = 0; h < at->n_heads; h++) {
			uint64_t to = ((uint64_t)t * at->n_heads + h) * pad;
			expect_head(&r, row + h * dim, d->q.want + to, d->q.bound + to);
		}
		r.weight = d->k_weight.values;
		for (uint32_t kv = 0; kv < at->n_kv; kv++) {
			uint64_t to = ((uint64_t)kv * at->n_ctx + at->position + t) * pad;
			expect_head(&r, row + at->k_offset + kv * dim, d->k.want + to, d->k.bound + to);
			expect_copy(row + at->v_offset + kv * dim, dim, d->v.want + to);
		}
	}
}

static evn_status rope_append(evn_cases *c, evn_attention_ops *ops, const head_shape *s, evn_error *err)
{
	const float eps = 1e-6f;
	const uint32_t dim = s->config.head_dim;
	evn_attention at = s->at;
	append_data d;
	at.n_ctx = at.position + s->n_tok + 2;
	at.k_offset = at.n_heads * dim + 5;
	at.v_offset = at.k_offset + at.n_kv * dim + 3;
	at.qkv_stride = at.v_offset + at.n_kv * dim + 9;
	EVN_TRY(make_append(c, &d, s, &at, err));
	expect_append(&d, s, &at, eps);
	bool norm = s->config.qk_norm;
	EVN_TRY(evn_op_rope_append(ops, d.q.buf, d.k.buf, d.v.buf, d.qkv.buf, d.rope.buf, norm ? d.q_weight.buf : NULL,
							   norm ? d.k_weight.buf : NULL, eps, &at, s->n_tok, err));
	EVN_TRY(evn_case_check(c, &d.q, "q", err));
	EVN_TRY(evn_case_check(c, &d.k, "k_cache", err));
	return evn_case_check(c, &d.v, "v_cache", err);
}

/* ---- attention ---------------------------------------------------------------------------------------------------
 */

typedef struct {
	evn_case_array q, k, v, out;
	double *weights; /* one query's, over all keys */
	uint32_t out_stride;
} attention_data;

/* NaN where no query may look: positions after the last token. */
static evn_status make_cache(evn_cases *c, evn_case_array *cache, const head_shape *s, uint32_t n_ctx, evn_error *err)
{
	const uint32_t dim = s->config.head_dim, pad = evn_head_pad(dim);
	EVN_TRY(evn_case_array_make(c, cache, (uint64_t)s->at.n_kv * n_ctx * pad, err));
	for (uint64_t i = 0; i < cache->n; i++) {
		if (i / pad % n_ctx >= s->at.position + s->n_tok)
			cache->values[i] = NAN;
		else if (i % pad >= dim)
			cache->values[i] = 0;
	}
	return evn_case_upload(c, cache, err);
}

static evn_status make_attention(evn_cases *c, attention_data *d, const head_shape *s, uint32_t n_ctx, evn_error *err)
{
	const uint32_t dim = s->config.head_dim, pad = evn_head_pad(dim);
	void *weights;
	EVN_TRY(evn_case_memory(c, &weights, n_ctx * sizeof(double), err));
	d->weights = weights;
	EVN_TRY(evn_case_array_make(c, &d->q, (uint64_t)s->n_tok * s->at.n_heads * pad, err));
	for (uint64_t i = 0; i < d->q.n; i++)
		d->q.values[i] = i % pad < dim ? d->q.values[i] * 4 : 0; /* scores far enough apart to see the maximum move */
	EVN_TRY(evn_case_upload(c, &d->q, err));
	EVN_TRY(make_cache(c, &d->k, s, n_ctx, err));
	EVN_TRY(make_cache(c, &d->v, s, n_ctx, err));
	d->out_stride = (uint32_t)evn_round_up(FIRST_COLUMN + s->at.n_heads * dim, EVN_PAD);
	return evn_case_output(c, &d->out, (uint64_t)s->n_tok * d->out_stride, err);
}

/* d->weights[key] = softmax; returns a bound of their relative error up to a factor they all share.
 *
 * A score has the absolute error e = roundings(dim + 2) * sum |q k| / sqrt(dim). A weight is exp(score - top) times
 * factors exp(old top - new top) as the maximum moves. All these exponents are negative and add up to score - last
 * top, so their subtractions err by one unit of the range of scores together; each exp errs by 3 ulp and each factor
 * by a rounding. The maximum moves once per 16 keys and once per work-item at most. */
static double softmax(const attention_data *d, const head_shape *s, const float *q, const float *k, uint32_t n_keys)
{
	const uint32_t dim = s->config.head_dim, pad = evn_head_pad(dim);
	const double scale = 1 / sqrt(dim), moves = (n_keys + 15) / 16 + 33;
	double top = -INFINITY, low = INFINITY, magnitude = 0, sum = 0;
	for (uint32_t j = 0; j < n_keys; j++) {
		double score = 0, size = 0;
		for (uint32_t i = 0; i < dim; i++) {
			double product = (double)q[i] * (double)k[(uint64_t)j * pad + i] * scale;
			score += product;
			size += fabs(product);
		}
		d->weights[j] = score;
		top = fmax(top, score);
		low = fmin(low, score);
		magnitude = fmax(magnitude, size);
	}
	for (uint32_t j = 0; j < n_keys; j++)
		sum += d->weights[j] = exp(d->weights[j] - top);
	for (uint32_t j = 0; j < n_keys; j++)
		d->weights[j] /= sum;
	return evn_roundings(dim + 2) * magnitude + EVN_UNIT * (top - low) + moves * (EVN_EXP_ERROR + EVN_UNIT);
}

/* Numerator and denominator are sums of n_keys terms with that error; a division joins them. 1.01 covers the products
 * of the errors and exp(e) - 1 > e. */
static void expect_head_output(attention_data *d, const head_shape *s, uint32_t t, uint32_t h, uint32_t n_ctx)
{
	const uint32_t dim = s->config.head_dim, pad = evn_head_pad(dim), n_keys = s->at.position + t + 1;
	const uint64_t kv = (uint64_t)((s->at.first_head + h) / s->at.group - s->at.first_kv) * n_ctx * pad;
	const float *q = d->q.values + ((uint64_t)t * s->at.n_heads + h) * pad, *v = d->v.values + kv;
	const double error = softmax(d, s, q, d->k.values + kv, n_keys);
	const double relative = 1.01 * (2 * (error + evn_roundings(n_keys)) + EVN_DIVIDE_ERROR);
	for (uint32_t i = 0; i < dim; i++) {
		double sum = 0, magnitude = 0;
		for (uint32_t j = 0; j < n_keys; j++) {
			double term = d->weights[j] * (double)v[(uint64_t)j * pad + i];
			sum += term;
			magnitude += fabs(term);
		}
		uint64_t at = (uint64_t)t * d->out_stride + FIRST_COLUMN + h * dim + i;
		d->out.want[at] = sum;
		d->out.bound[at] = relative * magnitude;
	}
}

static evn_status attention(evn_cases *c, evn_attention_ops *ops, const head_shape *s, evn_error *err)
{
	evn_attention at = s->at;
	attention_data d;
	at.n_ctx = at.position + s->n_tok + 3;
	EVN_TRY(make_attention(c, &d, s, at.n_ctx, err));
	for (uint64_t i = 0; i < d.out.n; i++)
		d.out.want[i] = 0;
	for (uint32_t t = 0; t < s->n_tok; t++)
		for (uint32_t h = 0; h < at.n_heads; h++)
			expect_head_output(&d, s, t, h, at.n_ctx);
	EVN_TRY(
		evn_op_attention(ops, d.out.buf, d.out_stride, FIRST_COLUMN, d.q.buf, d.k.buf, d.v.buf, &at, s->n_tok, err));
	return evn_case_check(c, &d.out, "out", err);
}

/* ---- all of them -------------------------------------------------------------------------------------------------
 */

#define HEAD(dim, rope) .head_dim = dim, .rope_dim = rope
#define LOCAL(heads, kv, per_kv) .n_heads = heads, .n_kv = kv, .group = per_kv

static const head_shape rope_shapes[] = {
	{"20 norm, partly, qk_norm", true, {HEAD(20, 12), .qk_norm = true}, {LOCAL(2, 1, 2), .position = 1}, 2},
	{"64 norm", false, {HEAD(64, 64)}, {LOCAL(3, 1, 3), .position = 5}, 3},
	{"64 neox", false, {HEAD(64, 64), .rope_neox = true}, {LOCAL(4, 2, 2)}, 1},
	{"80 neox, partly", false, {HEAD(80, 32), .rope_neox = true}, {LOCAL(2, 2, 1), .position = 9}, 2},
	{"100 norm, qk_norm", false, {HEAD(100, 100), .qk_norm = true}, {LOCAL(3, 1, 3), .position = 2}, 2},
	{"128 neox, qk_norm", false, {HEAD(128, 128), .rope_neox = true, .qk_norm = true}, {LOCAL(2, 1, 2)}, 2},
};

static const head_shape attention_shapes[] = {
	{"20, 18 keys", true, {HEAD(20, 12), .qk_norm = true}, {LOCAL(2, 1, 2), .position = 16}, 2},
	{"64, 1 key", false, {HEAD(64, 64)}, {LOCAL(3, 1, 3)}, 1},
	{"64, 17 keys", false, {HEAD(64, 64)}, {LOCAL(4, 2, 2), .position = 16}, 1},
	{"64, 5 tokens", false, {HEAD(64, 64)}, {LOCAL(4, 2, 2), .position = 13}, 5},
	{"64, heads 4-8 of 9 over 3",
	 false,
	 {HEAD(64, 64)},
	 {LOCAL(5, 2, 3), .first_head = 4, .first_kv = 1, .position = 30},
	 2},
	{"64, one KV head, 700 keys", false, {HEAD(64, 64), .rope_neox = true}, {LOCAL(8, 1, 8), .position = 697}, 3},
	{"80, 33 keys", false, {HEAD(80, 32), .rope_neox = true}, {LOCAL(2, 2, 1), .position = 31}, 2},
	{"100, 20 keys", false, {HEAD(100, 100), .qk_norm = true}, {LOCAL(3, 1, 3), .position = 18}, 2},
	{"128, 40 keys",
	 false,
	 {HEAD(128, 128), .rope_neox = true, .qk_norm = true},
	 {LOCAL(2, 1, 2), .first_head = 6, .first_kv = 3, .position = 38},
	 2},
};

static evn_status rope_case(evn_cases *c, const void *s, evn_error *err) { return with_ops(c, rope_append, s, err); }
static evn_status attention_case(evn_cases *c, const void *s, evn_error *err)
{
	return with_ops(c, attention, s, err);
}

void evn_selftest_heads(evn_cases *c)
{
	const head_shape *s = rope_shapes;
	for (size_t i = 0; i < sizeof rope_shapes / sizeof *rope_shapes; i++, s++)
		if (s->tiny || !c->options.tiny)
			evn_case_run(c, rope_case, s, "rope_append %s", s->name);
	s = attention_shapes;
	for (size_t i = 0; i < sizeof attention_shapes / sizeof *attention_shapes; i++, s++)
		if (s->tiny || !c->options.tiny)
			evn_case_run(c, attention_case, s, "attention %s", s->name);
}
