/* selftest_rows.c - known answers for kernels that work on rows of activations: norms, gate, GELU and bias. All but
 * the bias are tested with both activation formats. */
#include "proof/selftest_parts.h"

#include <math.h>

typedef struct {
	uint32_t width, n_tok;
	bool tiny;
	float shift; /* added to the inputs of a norm, so that the mean is far from zero */
	evn_act_format format;
	evn_nonlinearity gate;
	bool other; /* the other form: a LayerNorm in place */
	evn_activation activation;
} row_shape;

static uint32_t stride_of(uint32_t width) { return (uint32_t)evn_round_up(width, EVN_PAD); }

static evn_status with_ops(evn_cases *c, evn_status (*run)(evn_cases *, evn_ops *, const row_shape *, evn_error *),
						   const row_shape *s, evn_error *err)
{
	const evn_ops_config config = {.gate = s->gate, .activation = s->activation};
	evn_ops *ops;
	evn_status st = evn_ops_create(&ops, c->q, &config, err);
	if (st == EVN_OK)
		st = run(c, ops, s, err);
	evn_ops_free(ops);
	return st;
}

/* The columns from the true width to the stride are zeros. */
static evn_status fill_rows(evn_cases *c, evn_case_array *a, uint32_t width, float shift, evn_error *err)
{
	uint32_t stride = stride_of(width);
	for (uint64_t i = 0; i < a->n; i++)
		a->values[i] = i % stride < width ? a->values[i] + shift : 0;
	return evn_case_upload(c, a, err);
}

static evn_status make_rows(evn_cases *c, evn_case_array *a, uint32_t n_rows, uint32_t width, float shift,
							evn_error *err)
{
	EVN_TRY(evn_case_array_make(c, a, (uint64_t)n_rows * stride_of(width), err));
	return fill_rows(c, a, width, shift, err);
}

/* All squares are positive, so their sum has the relative error roundings(n) in any order. The division by dim and
 * the sum with eps add 6 units, and the root halves all this. The root's own error, a division and two products
 * follow. */
static evn_status rmsnorm(evn_cases *c, evn_ops *ops, const row_shape *s, evn_error *err)
{
	const uint32_t dim = s->width, stride = stride_of(dim), first = 2;
	const float eps = 1e-5f;
	const double relative =
		(evn_roundings(dim) + EVN_DIVIDE_ERROR + EVN_UNIT) / 2 + EVN_SQRT_ERROR + EVN_DIVIDE_ERROR + evn_roundings(3);
	evn_case_array x, w, y;
	EVN_TRY(make_rows(c, &x, first + s->n_tok, dim, 0, err));
	EVN_TRY(make_rows(c, &w, 1, dim, 0, err));
	EVN_TRY(evn_case_output(c, &y, (uint64_t)(s->n_tok + (s->format == EVN_ACT_F32)) * stride, err));
	const evn_norm norm = {.format = s->format, .y = y.buf, .w = w.buf, .dim = dim, .eps = eps};
	for (uint32_t t = 0; t < s->n_tok; t++) {
		const float *row = x.values + (uint64_t)(first + t) * stride;
		double squares = 0;
		for (uint32_t i = 0; i < dim; i++)
			squares += (double)row[i] * (double)row[i];
		double rms = sqrt(squares / dim + (double)eps);
		for (uint32_t i = 0; i < stride; i++) {
			uint64_t at = (uint64_t)t * stride + i;
			y.want[at] = (double)row[i] / rms * (double)w.values[i];
			y.bound[at] = relative * fabs(y.want[at]);
		}
	}
	EVN_TRY(evn_op_norm(ops, &norm, x.buf, first, s->n_tok, stride, err));
	return evn_case_check_format(c, &y, s->format, "y", err);
}

static evn_status swiglu(evn_cases *c, evn_ops *ops, const row_shape *s, evn_error *err)
{
	static const float special[] = {0.0f, -0.0f, 100.0f, -100.0f, -88.5f, 20.0f};
	const uint32_t n_special = sizeof special / sizeof *special;
	const uint32_t width = s->width, gu_stride = stride_of(2 * width) + EVN_PAD, y_stride = stride_of(width);
	evn_case_array gu, y;
	EVN_TRY(evn_case_array_make(c, &gu, (uint64_t)s->n_tok * gu_stride, err));
	EVN_TRY(evn_case_output(c, &y, (uint64_t)s->n_tok * y_stride, err));
	for (uint32_t t = 0; t < s->n_tok; t++)
		for (uint32_t i = 0; i < y_stride; i++) {
			float *gate = gu.values + (uint64_t)t * gu_stride + i;
			uint64_t at = (uint64_t)t * y_stride + i;
			y.want[at] = 0;
			if (i >= width)
				continue;
			*gate = i < n_special ? special[i] : *gate * 10;
			evn_expect_gated(s->gate, (evn_gate_up){.g = (double)*gate, .u = (double)gate[width]}, &y.want[at],
							 &y.bound[at]);
		}
	EVN_TRY(evn_case_upload(c, &gu, err));
	EVN_TRY(evn_op_swiglu(ops, s->format, y.buf, y_stride, gu.buf, gu_stride, width, width, s->n_tok, err));
	return evn_case_check_format(c, &y, s->format, "y", err);
}

static double square(double x) { return x * x; }

/* The mean has the error of a sum's roundings. Each difference from the mean has that error and one more rounding.
 * The sum of squares has the errors of its terms and its own roundings. The root halves these and adds its own error.
 * A division, two products and a sum follow. One extra unit in each covers the terms of second order. */
static void expect_layernorm(const row_shape *s, const float *x, const float *w, const float *b, double eps,
							 double *want, double *bound)
{
	const uint32_t dim = s->width;
	double sum = 0, magnitudes = 0, squares = 0, squares_error = 0;
	for (uint32_t i = 0; i < dim; i++) {
		sum += (double)x[i];
		magnitudes += fabs((double)x[i]);
	}
	const double mean = sum / dim, mean_error = evn_roundings(dim + 4.0) * magnitudes / dim;
	for (uint32_t i = 0; i < dim; i++) {
		double v = fabs((double)x[i] - mean), off = mean_error + 2 * EVN_UNIT * v;
		squares += v * v;
		squares_error += 2 * v * off + square(off) + evn_roundings(dim + 4.0) * square(v + off);
	}
	const double variance = squares / dim + eps, deviation = sqrt(variance);
	const double scale_error =
		squares_error / dim / variance / 2 + EVN_SQRT_ERROR + EVN_DIVIDE_ERROR + evn_roundings(4);
	for (uint32_t i = 0; i < stride_of(dim); i++) {
		double v = i < dim ? (double)x[i] - mean : 0, off = mean_error + 2 * EVN_UNIT * fabs(v);
		double scaled = v / deviation * (double)w[i];
		want[i] = scaled + (double)b[i];
		bound[i] = off / deviation * fabs((double)w[i]) * (1 + scale_error) +
				   fabs(scaled) * (scale_error + evn_roundings(4)) + 2 * EVN_UNIT * fabs(want[i]);
	}
}

static evn_status layernorm(evn_cases *c, evn_ops *ops, const row_shape *s, evn_error *err)
{
	const uint32_t first = 2, stride = stride_of(s->width);
	const float eps = 1e-5f;
	evn_case_array x, w, b, y;
	EVN_TRY(evn_case_output(c, &x, (uint64_t)(first + s->n_tok) * stride, err));
	EVN_TRY(fill_rows(c, &x, s->width, s->shift, err));
	EVN_TRY(make_rows(c, &w, 1, s->width, 0, err));
	EVN_TRY(make_rows(c, &b, 1, s->width, 0, err));
	EVN_TRY(evn_case_output(c, &y, (uint64_t)(s->n_tok + (s->format == EVN_ACT_F32)) * stride, err));
	for (uint32_t t = 0; t < s->n_tok; t++) {
		uint64_t to = (uint64_t)t * stride;
		expect_layernorm(s, x.values + to + (uint64_t)first * stride, w.values, b.values, (double)eps, y.want + to,
						 y.bound + to);
	}
	const evn_norm norm = {
		s->other ? EVN_NORM_REPLACE : EVN_NORM_LAYER, s->format, y.buf, w.buf, b.buf, s->width, eps, NULL};
	EVN_TRY(evn_op_norm(ops, &norm, x.buf, first, s->n_tok, stride, err));
	for (uint64_t i = 0; i < x.n && s->other; i++) {
		const bool normed = i >= (uint64_t)first * stride;
		x.want[i] = normed ? y.want[i - (uint64_t)first * stride] : (double)x.values[i];
		x.bound[i] = normed ? y.bound[i - (uint64_t)first * stride] : 0;
	}
	if (s->other)
		EVN_TRY(evn_case_check(c, &x, "x", err));
	return evn_case_check_format(c, &y, s->format, "y", err);
}

/* The exponent has five roundings, which its size multiplies. exp has 3 ulp, the sum one rounding, the division 2.5
 * ulp. If the exponential exceeds f32 the result may be 0; the error is then less than |x| 2^-127. */
static void expect_gelu(double v, double *want, double *bound)
{
	const double exponent = 2 * sqrt(2 / acos(-1)) * (v + 0.044715 * v * v * v), e = exp(-exponent),
				 tail = e / (1 + e);
	*want = v / (1 + e);
	*bound = fabs(*want) * (EVN_DIVIDE_ERROR + evn_roundings(2)) + fabs(v) * 0x1p-127;
	if (tail * fabs(exponent) > 0)
		*bound += fabs(*want) * tail * (EVN_EXP_ERROR + fabs(exponent) * evn_roundings(6));
}

/* erfc has 16 ulp. Its argument has two roundings, and where that is large, the logarithm of erfc falls by twice the
 * argument for each unit. */
static void expect_exact_gelu(double v, double *want, double *bound)
{
	const double z = -v * sqrt(0.5), slope = z > 0 ? 2 * z * z + 2 * z : 1;
	*want = v / 2 * erfc(z);
	*bound = fabs(*want) * (32 * EVN_UNIT + evn_roundings(3)) + fabs(v) * 0x1p-126;
	if (*want != 0)
		*bound += fabs(*want) * slope * evn_roundings(2);
}

static void expect_relu(double v, double *want, double *bound)
{
	*want = fmax(v, 0);
	*bound = 0;
}

static evn_status activate(evn_cases *c, evn_ops *ops, const row_shape *s, evn_error *err)
{
	static void (*const expect[])(double, double *, double *) = {expect_gelu, expect_exact_gelu, expect_relu};
	static const float special[] = {0.0f, -0.0f, 100.0f, -100.0f, -8.5f, 1e18f, -1e18f};
	const uint32_t n_special = sizeof special / sizeof *special, x_stride = stride_of(s->width) + EVN_PAD;
	const uint32_t y_stride = stride_of(s->width);
	evn_case_array x, y;
	EVN_TRY(evn_case_array_make(c, &x, (uint64_t)s->n_tok * x_stride, err));
	EVN_TRY(evn_case_output(c, &y, (uint64_t)s->n_tok * y_stride, err));
	for (uint32_t t = 0; t < s->n_tok; t++)
		for (uint32_t i = 0; i < y_stride; i++) {
			float *value = x.values + (uint64_t)t * x_stride + i;
			uint64_t at = (uint64_t)t * y_stride + i;
			y.want[at] = 0;
			if (i >= s->width)
				continue;
			*value = i < n_special ? special[i] : *value * 6;
			expect[s->activation]((double)*value, &y.want[at], &y.bound[at]);
		}
	EVN_TRY(evn_case_upload(c, &x, err));
	EVN_TRY(evn_op_activate(ops, s->format, y.buf, y_stride, x.buf, x_stride, s->width, s->n_tok, err));
	return evn_case_check_format(c, &y, s->format, "y", err);
}

static evn_status add_bias(evn_cases *c, evn_ops *ops, const row_shape *s, evn_error *err)
{
	const uint32_t width = s->width, stride = stride_of(width) + EVN_PAD;
	evn_case_array b, y;
	EVN_TRY(evn_case_input(c, &b, width, err));
	EVN_TRY(evn_case_output(c, &y, (uint64_t)s->n_tok * stride, err));
	for (uint32_t t = 0; t < s->n_tok; t++)
		for (uint32_t i = 0; i < width; i++) {
			uint64_t at = (uint64_t)t * stride + i;
			y.want[at] += (double)b.values[i];
			y.bound[at] = EVN_UNIT * fabs(y.want[at]);
		}
	EVN_TRY(evn_op_add_bias(ops, y.buf, stride, b.buf, width, s->n_tok, err));
	return evn_case_check(c, &y, "y", err);
}

/* Norms of queries and keys over more heads than these: the other ranks' squares are added on the host. The rows of
 * sums have the error of a sum of squares; what the norms multiply by has that of rmsnorm, and one product more. */
static evn_status head_norms(evn_cases *c, evn_ops *ops, const row_shape *s, evn_error *err)
{
	const uint32_t q = s->width, k_offset = q + 5, k = q / 2 + 3, stride = stride_of(k_offset + k) + EVN_PAD,
				   shared = 3;
	evn_head_norms n = {.stride = stride,
						.q_width = q,
						.k_offset = k_offset,
						.k_width = k,
						.k_of_others = shared,
						.first_q = 2,
						.first_k = q + 4,
						.all_q = 3 * q,
						.all_k = 2 * k,
						.eps = 1e-5f};
	const uint32_t rows = s->n_tok;
	evn_case_array x, sums, w;
	EVN_TRY(evn_case_output(c, &x, (uint64_t)rows * stride, err));
	EVN_TRY(evn_case_output(c, &sums, (uint64_t)rows * EVN_HEAD_SUMS, err));
	EVN_TRY(evn_case_input(c, &w, q + 4 + k, err));
	n.qkv = x.buf;
	n.weights = w.buf;
	for (uint64_t i = 0; i < sums.n; i++)
		sums.want[i] = 0;
	for (uint32_t t = 0; t < rows; t++)
		for (uint32_t i = 0; i < q + k; i++) {
			const double v = (double)x.values[t * stride + (i < q ? i : k_offset + i - q)];
			sums.want[t * EVN_HEAD_SUMS + (i >= q)] += i < q || i - q >= shared ? v * v : 0;
		}
	for (uint64_t i = 0; i < sums.n; i++)
		sums.bound[i] = evn_roundings(q + 2) * sums.want[i];
	EVN_TRY(evn_op_head_squares(ops, &n, sums.buf, rows, err));
	EVN_TRY(evn_case_check(c, &sums, "sums", err));
	for (uint32_t t = 0; t < rows; t++)
		for (uint32_t i = 0; i < q + k; i++) {
			float *sum = &sums.values[t * EVN_HEAD_SUMS + (i >= q)];
			const uint32_t at = t * stride + (i < q ? i : k_offset + i - q);
			*sum = (float)(2 * sums.want[t * EVN_HEAD_SUMS + (i >= q)]);
			const double rms = sqrt((double)*sum / (i < q ? n.all_q : n.all_k) + (double)n.eps);
			x.want[at] = (double)x.values[at] / rms * (double)w.values[i < q ? 2 + i : q + 4 + i - q];
			x.bound[at] = ((EVN_DIVIDE_ERROR + EVN_UNIT) / 2 + EVN_SQRT_ERROR + EVN_DIVIDE_ERROR + evn_roundings(3)) *
						  fabs(x.want[at]);
		}
	EVN_TRY(evn_case_upload(c, &sums, err));
	EVN_TRY(evn_op_head_norms(ops, &n, sums.buf, rows, err));
	return evn_case_check(c, &x, "qkv", err);
}

static evn_status head_norms_case(evn_cases *c, const void *s, evn_error *err)
{
	return with_ops(c, head_norms, s, err);
}
static evn_status rmsnorm_case(evn_cases *c, const void *s, evn_error *err) { return with_ops(c, rmsnorm, s, err); }
static evn_status swiglu_case(evn_cases *c, const void *s, evn_error *err) { return with_ops(c, swiglu, s, err); }
static evn_status layernorm_case(evn_cases *c, const void *s, evn_error *err)
{
	return with_ops(c, layernorm, s, err);
}
static evn_status activate_case(evn_cases *c, const void *s, evn_error *err) { return with_ops(c, activate, s, err); }

const char *evn_activation_name(evn_activation a)
{
	static const char *const names[] = {[EVN_BY_TANH] = "gelu", [EVN_BY_ERF] = "gelu by erf", [EVN_RELU] = "relu"};
	return names[a];
}
static evn_status add_bias_case(evn_cases *c, const void *s, evn_error *err) { return with_ops(c, add_bias, s, err); }

static const char *const formats[EVN_ACT_FORMATS] = {"f32", "q8"};

void evn_selftest_rows(evn_cases *c)
{
	static const row_shape shapes[] = {{64, 2, true, 0, 0, 0, false, 0},
									   {48, 1, true, 0, 0, 0, false, 0},
									   {576, 3, false, 0, 0, 0, false, 0},
									   {1520, 2, false, 0, 0, 0, false, 0}};
	static const row_shape norms[] = {{50, 2, true, 0, 0, 0, false, 0},
									  {32, 1, true, 0, 0, 0, false, 0},
									  {576, 3, false, 0, 0, 0, false, 0},
									  {1001, 2, false, 0, 0, 0, false, 0}};
	for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
		row_shape norm = norms[i], row = shapes[i];
		if (c->options.tiny && !row.tiny)
			continue;
		for (evn_act_format format = 0; format < EVN_ACT_FORMATS; format++) {
			if (!evn_case_has_format(c, format))
				continue;
			norm.format = row.format = format;
			evn_case_run(c, &(evn_case){rmsnorm_case, &norm, "rmsnorm", NULL}, "%s %u x%u", formats[format],
						 norm.width, norm.n_tok);
			for (row.gate = 0; row.gate < EVN_NONLINEARITIES; row.gate++)
				if (c->options.subject ? row.gate == c->options.gate : row.gate == EVN_SILU || row.tiny)
					evn_case_run(c, &(evn_case){swiglu_case, &row, "swiglu", NULL}, "%s%s %u x%u", formats[format],
								 evn_gate_name(row.gate), row.width, row.n_tok);
			row.gate = EVN_SILU;
		}
		evn_case_run(c, &(evn_case){head_norms_case, &row, EVN_NORMS_OF_ALL, NULL}, "%u x%u", row.width, row.n_tok);
		evn_case_run(c, &(evn_case){add_bias_case, &row, "add_bias", NULL}, "%u x%u", row.width, row.n_tok);
	}
}

void evn_selftest_gpt2(evn_cases *c)
{
	static const row_shape norms[] = {{50, 2, true, 0, 0, 0, false, 0},
									  {32, 1, true, 3, 0, 0, false, 0},
									  {768, 3, false, 0, 0, 0, false, 0},
									  {1001, 2, false, -5, 0, 0, false, 0}};
	static const row_shape units[] = {
		{64, 2, true, 0, 0, 0, false, 0}, {48, 1, true, 0, 0, 0, false, 0}, {3072, 2, false, 0, 0, 0, false, 0}};
	for (evn_act_format format = 0; format < EVN_ACT_FORMATS; format++) {
		if (!evn_case_has_format(c, format))
			continue;
		for (size_t i = 0; i < sizeof norms / sizeof *norms; i++) {
			row_shape s = norms[i];
			s.format = format;
			for (int other = 0; other < 2 && (s.tiny || !c->options.tiny); other++) {
				s.other = other;
				evn_case_run(c, &(evn_case){layernorm_case, &s, other ? EVN_LAYERNORM_REPLACES : "layernorm", NULL},
							 "%s %u x%u", formats[format], s.width, s.n_tok);
			}
		}
		for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
			row_shape s = units[i];
			s.format = format;
			for (s.activation = 0; s.activation <= EVN_RELU && (s.tiny || !c->options.tiny); s.activation++)
				evn_case_run(c, &(evn_case){activate_case, &s, evn_activation_name(s.activation), NULL}, "%s %u x%u",
							 formats[format], s.width, s.n_tok);
		}
	}
}
