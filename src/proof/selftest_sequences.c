/* selftest_sequences.c - known answers for heads of whole sequences without a cache: the rotation, forward and back,
 * and attention. */
#include "proof/selftest_case.h"

#include <math.h>

#define FIRST_COLUMN 7 /* the heads begin at this column of attention's output, which tests the offset */
#define MAX_KEYS 32

typedef struct {
	const char *name;
	bool attends; /* false: only the rotation is tested, because some compilers take long for attention */
	evn_attention_config config;
	evn_sequences of; /* without offsets and strides */
} sequences_shape;

/* The parts of a row are not adjacent, which tests the offsets. */
static evn_sequences layout(const sequences_shape *s)
{
	evn_sequences l = s->of;
	const uint32_t dim = s->config.head_dim;
	l.group = s->config.group;
	l.k_offset = l.n_heads * dim + 5;
	l.v_offset = l.k_offset + l.n_kv * dim + 3;
	l.stride = l.v_offset + l.n_kv * dim + 9;
	l.out_offset = FIRST_COLUMN;
	l.out_stride = (uint32_t)evn_round_up(FIRST_COLUMN + l.n_heads * dim, EVN_PAD);
	l.scale = 0.3f;
	return l;
}

/* ---- the rotation ---------------------------------------------------------------------------------------------- */

/* Two products and their difference. */
static void expect_rotated(const evn_attention_config *config, const float *rope, bool back, evn_case_array *a,
						   uint64_t at)
{
	const uint32_t pairs = config->rope_dim / 2;
	for (uint32_t i = 0; i < pairs; i++) {
		const uint64_t first = at + (config->rope_neox ? i : 2 * i), second = first + (config->rope_neox ? pairs : 1);
		const double x = (double)a->values[first], y = (double)a->values[second];
		const double cosine = (double)rope[i], sine = (double)rope[pairs + i] * (back ? -1 : 1);
		a->want[first] = x * cosine - y * sine;
		a->want[second] = x * sine + y * cosine;
		a->bound[first] = evn_roundings(3) * (fabs(x * cosine) + fabs(y * sine));
		a->bound[second] = evn_roundings(3) * (fabs(x * sine) + fabs(y * cosine));
	}
}

static evn_status rotate(evn_cases *c, evn_attention_ops *ops, const evn_sequences *l, bool back, evn_error *err)
{
	const evn_attention_config *config = evn_attention_ops_config(ops);
	const uint32_t n_tok = l->n_ctx * l->n_sequences, dim = config->head_dim;
	evn_case_array rows, rope;
	EVN_TRY(evn_case_output(c, &rows, (uint64_t)n_tok * l->stride, err));
	EVN_TRY(evn_case_input(c, &rope, (uint64_t)l->n_ctx * config->rope_dim + 1, err));
	for (uint32_t t = 0; t < n_tok; t++)
		for (uint32_t h = 0; h < l->n_heads + l->n_kv; h++) {
			const uint32_t column = h < l->n_heads ? h * dim : l->k_offset + (h - l->n_heads) * dim;
			expect_rotated(config, rope.values + (uint64_t)(t % l->n_ctx) * config->rope_dim, back, &rows,
						   (uint64_t)t * l->stride + column);
		}
	EVN_TRY(evn_op_rotate(ops, rows.buf, l, rope.buf, back, err));
	return evn_case_check(c, &rows, back ? "rotated back" : "rotated", err);
}

/* ---- attention ------------------------------------------------------------------------------------------------- */

typedef struct {
	const evn_sequences *l;
	uint32_t dim;
	evn_case_array qkv, out, lse;
	double weights[MAX_KEYS];
} attention_run;

/* Sets a->weights to the exponentials of the scores of query t, and *top to the largest score. Returns a bound of
 * their relative error, as softmax in selftest_heads.c does: the score has the error of dim + 2 roundings, the
 * running maximum moves once for 16 keys, and each move and the exponential itself err by 3 ulp and a rounding. */
static double exponentials(attention_run *a, const float *q, const float *k, uint32_t n_keys, double *top)
{
	double low = INFINITY, most = 0;
	*top = -INFINITY;
	for (uint32_t j = 0; j < n_keys; j++) {
		double score = 0, size = 0;
		for (uint32_t i = 0; i < a->dim; i++) {
			const double term = (double)q[i] * (double)k[(uint64_t)j * a->l->stride + i] * (double)a->l->scale;
			score += term;
			size += fabs(term);
		}
		a->weights[j] = score;
		*top = fmax(*top, score);
		low = fmin(low, score);
		most = fmax(most, evn_roundings(a->dim + 2) * size);
	}
	for (uint32_t j = 0; j < n_keys; j++)
		a->weights[j] = exp(a->weights[j] - *top);
	return 2 * most + EVN_UNIT * (*top - low) + (n_keys / 16 + 2) * (EVN_EXP_ERROR + EVN_UNIT);
}

/* Numerator and denominator are sums with that error, and a division joins them. The factor 1.01 covers the products
 * of errors. The logarithm has an error of 3 ulp, plus the relative error of its argument. */
static void expect_head(attention_run *a, uint32_t t, uint32_t h)
{
	const evn_sequences *l = a->l;
	const uint32_t n_keys = t % l->n_ctx + 1, kv = (l->first_head + h) / l->group - l->first_kv;
	const float *rows = a->qkv.values + (uint64_t)(t - t % l->n_ctx) * l->stride;
	const float *v = rows + l->v_offset + kv * a->dim;
	double top, sum = 0;
	const double error = exponentials(a, rows + (uint64_t)(n_keys - 1) * l->stride + h * a->dim,
									  rows + l->k_offset + kv * a->dim, n_keys, &top);
	const double of_sum = 1.01 * (error + evn_roundings(n_keys + n_keys / 16 + 2));
	for (uint32_t j = 0; j < n_keys; j++)
		sum += a->weights[j];
	for (uint32_t i = 0; i < a->dim; i++) {
		double value = 0, magnitude = 0;
		for (uint32_t j = 0; j < n_keys; j++) {
			const double term = a->weights[j] / sum * (double)v[(uint64_t)j * l->stride + i];
			value += term;
			magnitude += fabs(term);
		}
		const uint64_t at = (uint64_t)t * l->out_stride + l->out_offset + h * a->dim + i;
		a->out.want[at] = value;
		a->out.bound[at] = 1.01 * (2 * of_sum + EVN_DIVIDE_ERROR) * magnitude;
	}
	const uint64_t at = (uint64_t)t * l->n_heads + h;
	a->lse.want[at] = log(sum) + top;
	a->lse.bound[at] = of_sum + EVN_EXP_ERROR * log(sum) + 2 * EVN_UNIT * (fabs(top) + log(sum));
}

static evn_status attend(evn_cases *c, evn_attention_ops *ops, const evn_sequences *l, evn_error *err)
{
	const uint32_t n_tok = l->n_ctx * l->n_sequences;
	attention_run a = {.l = l, .dim = evn_attention_ops_config(ops)->head_dim};
	EVN_TRY(evn_case_input(c, &a.qkv, (uint64_t)n_tok * l->stride, err));
	EVN_TRY(evn_case_output(c, &a.out, (uint64_t)n_tok * l->out_stride, err));
	EVN_TRY(evn_case_output(c, &a.lse, (uint64_t)n_tok * l->n_heads, err));
	for (uint64_t i = 0; i < a.out.n; i++) /* the other columns become zeros */
		a.out.want[i] = 0;
	for (uint32_t t = 0; t < n_tok; t++)
		for (uint32_t h = 0; h < l->n_heads; h++)
			expect_head(&a, t, h);
	EVN_TRY(evn_op_attention_sequences(ops, a.out.buf, a.lse.buf, a.qkv.buf, l, err));
	EVN_TRY(evn_case_check(c, &a.out, "out", err));
	return evn_case_check(c, &a.lse, "logarithm of the sum", err);
}

/* ---- all of them ----------------------------------------------------------------------------------------------- */

static evn_status run(evn_cases *c, const void *shape, evn_error *err)
{
	const sequences_shape *s = shape;
	const evn_sequences l = layout(s);
	evn_attention_ops *ops;
	EVN_TRY(evn_attention_ops_create(&ops, c->q, &s->config, err));
	evn_status st = rotate(c, ops, &l, false, err);
	if (st == EVN_OK)
		st = rotate(c, ops, &l, true, err);
	if (st == EVN_OK && s->attends)
		st = attend(c, ops, &l, err);
	evn_attention_ops_free(ops);
	return st;
}

void evn_selftest_sequences(evn_cases *c)
{
	static const sequences_shape shapes[] = {
		{"12 partly, heads 1-3 of groups of 2",
		 true,
		 {.head_dim = 12, .rope_dim = 8, .group = 2},
		 {.n_heads = 3, .n_kv = 2, .first_head = 1, .n_ctx = 32, .n_sequences = 2}},
		{"8 neox, rotation",
		 false,
		 {.head_dim = 8, .rope_dim = 8, .group = 1, .rope_neox = true},
		 {.n_heads = 2, .n_kv = 2, .first_head = 4, .first_kv = 4, .n_ctx = 16, .n_sequences = 3}},
	};
	for (size_t i = 0; i < sizeof shapes / sizeof *shapes && !c->options.heads; i++)
		evn_case_run(c, &(evn_case){run, &shapes[i], "attention over sequences", NULL}, "%s", shapes[i].name);
}
