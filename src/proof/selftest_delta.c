/* selftest_delta.c - known answers for a gated DeltaNet and for gates of heads, computed in f64 row by row. */
#include "nn/ops_delta.h"
#include "proof/selftest_parts.h"

#include <math.h>
#include <string.h>

#define EPS 1e-6f
#define ROWS 7u
#define PLACES 4u
/* A state and an output are sums of STATE products, and errors of a state go on to the next row while it decays: seen
 * are 3e-7, a wrong term is 1e-2 and more. */
#define TOLERANCE 2e-5

typedef struct {
	uint32_t state, taps, n_heads, first_head, n_keys, first_key, all_keys, offset;
} delta_shape;

/* Two sequences: the first begins, the second goes on from a state. */
static const uint32_t runs[2][EVN_RUN_WORDS] = {{0, 4, EVN_NO_STATE, 2}, {4, 3, 1, 3}};

typedef struct {
	const delta_shape *s;
	uint32_t channels, stride, padded, y_stride;
	evn_case_array rows, rates, conv, decay, norm, states, inputs, y, words;
	double *mixed; /* (ROWS, channels): queries, keys and values behind the convolution */
} delta_run;

static evn_status make_run(evn_cases *c, delta_run *r, evn_error *err)
{
	const delta_shape *s = r->s;
	void *mixed;
	r->channels = (2 * s->n_keys + s->n_heads) * s->state;
	r->stride = (uint32_t)evn_round_up(r->channels + s->n_heads * s->state, EVN_PAD);
	r->padded = (uint32_t)evn_round_up(2 * s->n_heads, EVN_TILE_ROWS);
	r->y_stride = (uint32_t)evn_round_up(s->offset + s->n_heads * s->state, EVN_PAD);
	EVN_TRY(evn_case_rows_make(c, &r->rows, ROWS, r->stride, err));
	EVN_TRY(evn_case_input(c, &r->rates, ROWS * r->padded, err));
	EVN_TRY(evn_case_input(c, &r->conv, s->taps * r->channels, err));
	EVN_TRY(evn_case_array_make(c, &r->decay, s->n_heads, err));
	for (uint32_t h = 0; h < s->n_heads; h++)
		r->decay.values[h] = -0.1f - fabsf(r->decay.values[h]);
	EVN_TRY(evn_case_upload(c, &r->decay, err));
	EVN_TRY(evn_case_input(c, &r->norm, s->state, err));
	EVN_TRY(evn_case_output(c, &r->states, (uint64_t)PLACES * s->n_heads * s->state * s->state, err));
	EVN_TRY(evn_case_output(c, &r->inputs, (uint64_t)PLACES * (s->taps - 1) * r->channels, err));
	EVN_TRY(evn_case_output(c, &r->y, (uint64_t)ROWS * r->y_stride, err));
	EVN_TRY(evn_case_array_make(c, &r->words, 2 * EVN_RUN_WORDS, err));
	memcpy(r->words.values, runs, sizeof runs);
	EVN_TRY(evn_case_upload(c, &r->words, err));
	EVN_TRY(evn_case_memory(c, &mixed, (uint64_t)ROWS * r->channels * sizeof(double), err));
	r->mixed = mixed;
	return evn_case_upload(c, &r->rows, err);
}

static double logistic(double x) { return 1 / (1 + exp(-x)); }

/* The input of the convolution `back` rows before row t of a run. */
static double input(const delta_run *r, const uint32_t *run, uint32_t t, uint32_t back, uint32_t channel)
{
	const uint32_t before = r->s->taps - 1;
	if (t >= back)
		return (double)r->rows.values[(uint64_t)(run[0] + t - back) * r->stride + channel];
	if (run[2] == EVN_NO_STATE)
		return 0;
	return (double)r->inputs.values[((uint64_t)run[2] * before + before + t - back) * r->channels + channel];
}

static void convolve(const delta_run *r, const uint32_t *run)
{
	const uint32_t taps = r->s->taps;
	for (uint32_t channel = 0; channel < r->channels; channel++) {
		for (uint32_t t = 0; t < run[1]; t++) {
			double sum = 0;
			for (uint32_t i = 0; i < taps; i++)
				sum += (double)r->conv.values[i * r->channels + channel] * input(r, run, t, taps - 1 - i, channel);
			r->mixed[(uint64_t)(run[0] + t) * r->channels + channel] = sum * logistic(sum);
		}
		for (uint32_t i = 0; i < taps - 1; i++)
			r->inputs.want[((uint64_t)run[3] * (taps - 1) + i) * r->channels + channel] =
				input(r, run, run[1] - 1, taps - 2 - i, channel);
	}
}

static double length_of(const double *head, uint32_t n)
{
	double squares = 0;
	for (uint32_t i = 0; i < n; i++)
		squares += head[i] * head[i];
	return sqrt(squares + 1e-6);
}

/* One row of one head: T is changed, out is the output before the norm. */
static void step(const delta_run *r, uint32_t head, uint64_t row, double *T, double *out)
{
	const delta_shape *s = r->s;
	const uint32_t n = s->state, key = (s->first_head + head) % s->all_keys - s->first_key;
	const double *q = r->mixed + row * r->channels + key * n, *k = q + s->n_keys * n;
	const double *v = r->mixed + row * r->channels + (2 * s->n_keys + head) * n;
	const double alpha = (double)r->rates.values[row * r->padded + head];
	const double kept = exp((double)r->decay.values[head] * log1p(exp(alpha)));
	const double added = logistic((double)r->rates.values[row * r->padded + s->n_heads + head]);
	for (uint32_t j = 0; j < n; j++) {
		double known = 0;
		for (uint32_t i = 0; i < n; i++)
			known += k[i] / length_of(k, n) * kept * T[i * n + j];
		out[j] = 0;
		for (uint32_t i = 0; i < n; i++) {
			T[i * n + j] = kept * T[i * n + j] + k[i] / length_of(k, n) * added * (v[j] - known);
			out[j] += q[i] / length_of(q, n) / sqrt(n) * T[i * n + j];
		}
	}
}

static void expect_head(const delta_run *r, const uint32_t *run, uint32_t head)
{
	const delta_shape *s = r->s;
	const uint64_t n = s->state, size = n * n;
	double *T = r->states.want + ((uint64_t)run[3] * s->n_heads + head) * size;
	for (uint64_t i = 0; i < size; i++)
		T[i] =
			run[2] == EVN_NO_STATE ? 0 : (double)r->states.values[((uint64_t)run[2] * s->n_heads + head) * size + i];
	for (uint32_t t = 0; t < run[1]; t++) {
		const uint64_t row = run[0] + t;
		double *out = r->y.want + row * r->y_stride + s->offset + head * n, squares = 0;
		const float *z = r->rows.values + row * r->stride + r->channels + head * n;
		step(r, head, row, T, out);
		for (uint64_t i = 0; i < n; i++)
			squares += out[i] * out[i];
		for (uint64_t i = 0; i < n; i++)
			out[i] *= (double)r->norm.values[i] / sqrt(squares / (double)n + (double)EPS) * (double)z[i] *
					  logistic((double)z[i]);
	}
}

static void expect(const delta_run *r)
{
	for (uint64_t i = 0; i < r->y.n; i++) {
		r->y.want[i] = 0;
		r->y.bound[i] = TOLERANCE;
	}
	for (uint32_t k = 0; k < 2; k++) {
		convolve(r, runs[k]);
		for (uint32_t head = 0; head < r->s->n_heads; head++)
			expect_head(r, runs[k], head);
		for (uint64_t i = 0, n = r->states.n / PLACES; i < n; i++)
			r->states.bound[runs[k][3] * n + i] = TOLERANCE;
	}
}

static evn_status delta_case(evn_cases *c, const void *shape, evn_error *err)
{
	const delta_shape *s = shape;
	delta_run r = {.s = s};
	evn_ops *ops;
	EVN_TRY(make_run(c, &r, err));
	EVN_TRY(evn_ops_create(&ops, c->q, &(evn_ops_config){.gate = EVN_SILU}, err));
	const evn_delta d = {.state = s->state,
						 .taps = s->taps,
						 .n_heads = s->n_heads,
						 .first_head = s->first_head,
						 .n_keys = s->n_keys,
						 .first_key = s->first_key,
						 .all_keys = s->all_keys,
						 .rows = r.rows.buf,
						 .stride = r.stride,
						 .v_offset = 2 * s->n_keys * s->state,
						 .z_offset = r.channels,
						 .rates = r.rates.buf,
						 .conv = r.conv.buf,
						 .decay = r.decay.buf,
						 .norm = r.norm.buf,
						 .eps = EPS,
						 .states = r.states.buf,
						 .inputs = r.inputs.buf};
	const evn_runs of = {r.words.buf, 2};
	expect(&r);
	evn_status st = evn_op_delta(ops, &d, r.y.buf, r.y_stride, s->offset, &of, ROWS, err);
	if (st == EVN_OK)
		st = evn_case_check(c, &r.y, "y", err);
	if (st == EVN_OK)
		st = evn_case_check(c, &r.states, "states", err);
	if (st == EVN_OK)
		st = evn_case_check(c, &r.inputs, "inputs", err);
	evn_ops_free(ops);
	return st;
}

/* The logistic function: an exponential, a sum and a division, then a product. */
static evn_status gates_case(evn_cases *c, const void *shape, evn_error *err)
{
	const uint32_t n = 3, width = 18, n_rows = 5, stride = 160, offset = 7;
	evn_case_array rows, gates, y;
	evn_ops *ops;
	(void)shape;
	EVN_TRY(evn_case_rows_output(c, &rows, n_rows, stride, err));
	EVN_TRY(evn_case_output(c, &gates, (uint64_t)n_rows * n * width, err));
	EVN_TRY(evn_case_output(c, &y, (uint64_t)n_rows * stride, err));
	EVN_TRY(evn_ops_create(&ops, c->q, &(evn_ops_config){.gate = EVN_SILU}, err));
	for (uint32_t t = 0; t < n_rows; t++)
		for (uint32_t i = 0; i < n * width; i++) {
			const uint64_t from = (uint64_t)t * stride + i / width * 2 * width + i % width;
			const uint64_t at = (uint64_t)t * stride + offset + i;
			rows.want[(uint64_t)t * stride + i] = (double)rows.values[from];
			gates.want[(uint64_t)t * n * width + i] = (double)rows.values[from + width];
			y.want[at] = (double)y.values[at] * logistic((double)rows.values[from + width]);
			y.bound[at] = fabs(y.want[at]) * (EVN_EXP_ERROR + EVN_DIVIDE_ERROR + evn_roundings(3));
		}
	/* what is behind the heads is left over */
	for (uint32_t t = 0; t < n_rows; t++)
		for (uint32_t i = n * width; i < 2 * n * width; i++)
			rows.bound[(uint64_t)t * stride + i] = INFINITY;
	const evn_gated_heads heads = {n, width, gates.buf};
	evn_status st = evn_op_split_gates(ops, &heads, rows.buf, stride, n_rows, err);
	if (st == EVN_OK)
		st = evn_op_apply_gates(ops, &heads, y.buf, stride, offset, n_rows, err);
	if (st == EVN_OK)
		st = evn_case_check(c, &rows, "rows", err);
	if (st == EVN_OK)
		st = evn_case_check(c, &gates, "gates", err);
	if (st == EVN_OK)
		st = evn_case_check(c, &y, "y", err);
	evn_ops_free(ops);
	return st;
}

/* With the size of the states and the taps of a model, if it is a model that is proved. */
void evn_selftest_delta(evn_cases *c)
{
	static const delta_shape shapes[] = {
		{16, 4, 5, 3, 3, 0, 3, 16}, {128, 4, 2, 5, 2, 1, 4, 0}, {32, 3, 1, 0, 1, 0, 2, 48}};
	for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
		delta_shape s = shapes[i];
		if (c->options.state && i > 0)
			break;
		if (c->options.state) {
			s.state = c->options.state;
			s.taps = c->options.taps;
		}
		evn_case_run(c, &(evn_case){delta_case, &s, EVN_DELTA, NULL}, "%u heads of %u, %u keys, %u taps", s.n_heads,
					 s.state, s.n_keys, s.taps);
	}
	evn_case_run(c, &(evn_case){gates_case, NULL, EVN_HEAD_GATES, NULL}, "3 heads of 18");
}
