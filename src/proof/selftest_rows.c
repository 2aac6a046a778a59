/* selftest_rows.c - known answers for kernels that work on rows of activations: norm, gate, bias. Norm and gate are
 * tested with both activation formats. */
#include "proof/selftest_case.h"

#include <math.h>
#include <string.h>

typedef struct {
	uint32_t width, n_tok;
	bool tiny;
	evn_act_format format;
} row_shape;

static evn_status check(evn_cases *c, const evn_case_array *y, evn_act_format format, evn_error *err)
{
	return format == EVN_ACT_Q8 ? evn_case_check_q8(c, y, "y", err) : evn_case_check(c, y, "y", err);
}

static uint32_t stride_of(uint32_t width) { return (uint32_t)evn_round_up(width, EVN_PAD); }

static evn_status with_ops(evn_cases *c, evn_status (*run)(evn_cases *, evn_ops *, const row_shape *, evn_error *),
						   const row_shape *s, evn_error *err)
{
	const evn_ops_config config = {.items = c->options.items};
	evn_ops *ops;
	evn_status st = evn_ops_create(&ops, c->q, &config, err);
	if (st == EVN_OK)
		st = run(c, ops, s, err);
	evn_ops_free(ops);
	return st;
}

/* The columns from the true width to the stride are zeros. */
static evn_status make_rows(evn_cases *c, evn_case_array *a, uint32_t n_rows, uint32_t width, evn_error *err)
{
	uint32_t stride = stride_of(width);
	EVN_TRY(evn_case_array_make(c, a, (uint64_t)n_rows * stride, err));
	for (uint64_t i = 0; i < a->n; i++)
		if (i % stride >= width)
			a->values[i] = 0;
	return evn_case_upload(c, a, err);
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
	EVN_TRY(make_rows(c, &x, first + s->n_tok, dim, err));
	EVN_TRY(make_rows(c, &w, 1, dim, err));
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
	return check(c, &y, s->format, err);
}

/* exp has 3 ulp. The sum with 1 and the last product have one rounding each, the division 2.5 ulp. One more unit
 * covers the products of these errors. If exp(-gate) exceeds f32 the result may be 0; the error is then less than
 * |gate up| 2^-127. */
static evn_status swiglu(evn_cases *c, evn_ops *ops, const row_shape *s, evn_error *err)
{
	static const float special[] = {0.0f, -0.0f, 100.0f, -100.0f, -88.5f, 20.0f};
	const uint32_t n_special = sizeof special / sizeof *special;
	const uint32_t width = s->width, gu_stride = stride_of(2 * width) + EVN_PAD, y_stride = stride_of(width);
	const double relative = EVN_EXP_ERROR + EVN_DIVIDE_ERROR + evn_roundings(3);
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
			double g = (double)*gate, up = (double)gate[width];
			y.want[at] = g / (1 + exp(-g)) * up;
			y.bound[at] = relative * fabs(y.want[at]) + fabs(g * up) * 0x1p-127;
		}
	EVN_TRY(evn_case_upload(c, &gu, err));
	EVN_TRY(evn_op_swiglu(ops, s->format, y.buf, y_stride, gu.buf, gu_stride, width, width, s->n_tok, err));
	return check(c, &y, s->format, err);
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

static evn_status rmsnorm_case(evn_cases *c, const void *s, evn_error *err) { return with_ops(c, rmsnorm, s, err); }
static evn_status swiglu_case(evn_cases *c, const void *s, evn_error *err) { return with_ops(c, swiglu, s, err); }
static evn_status add_bias_case(evn_cases *c, const void *s, evn_error *err) { return with_ops(c, add_bias, s, err); }

void evn_selftest_rows(evn_cases *c)
{
	static const char *const formats[EVN_ACT_FORMATS] = {"f32", "q8"};
	static const row_shape shapes[] = {{64, 2, true, 0}, {48, 1, true, 0}, {576, 3, false, 0}, {1520, 2, false, 0}};
	static const row_shape norms[] = {{50, 2, true, 0}, {32, 1, true, 0}, {576, 3, false, 0}, {1001, 2, false, 0}};
	for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
		row_shape norm = norms[i], row = shapes[i];
		if (c->options.tiny && !row.tiny)
			continue;
		for (evn_act_format format = 0; format < EVN_ACT_FORMATS; format++) {
			norm.format = row.format = format;
			evn_case_run(c, &(evn_case){rmsnorm_case, &norm, "rmsnorm", NULL}, "%s %u x%u", formats[format],
						 norm.width, norm.n_tok);
			evn_case_run(c, &(evn_case){swiglu_case, &row, "swiglu", NULL}, "%s %u x%u", formats[format], row.width,
						 row.n_tok);
		}
		evn_case_run(c, &(evn_case){add_bias_case, &row, "add_bias", NULL}, "%u x%u", row.width, row.n_tok);
	}
}
