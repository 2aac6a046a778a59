/* selftest_rows.c - known answers for what acts on rows of activations: norm, gate, bias, sums of partials. */
#include "nn/selftest_case.h"

#include <math.h>
#include <string.h>

typedef struct {
	uint32_t width, n_tok;
	bool tiny;
} row_shape;

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

/* Zeros from the true width to the stride. */
static evn_status make_rows(evn_cases *c, evn_case_array *a, uint32_t n_rows, uint32_t width, evn_error *err)
{
	uint32_t stride = stride_of(width);
	EVN_TRY(evn_case_array_make(c, a, (uint64_t)n_rows * stride, err));
	for (uint64_t i = 0; i < a->n; i++)
		if (i % stride >= width)
			a->values[i] = 0;
	return evn_case_upload(c, a, err);
}

/* All squares are positive, so their sum has the relative error roundings(n) in any order; the division by dim and
 * the sum with eps add 6 units, the root halves all this; then come the root's own error, a division, two products.
 */
static evn_status rmsnorm(evn_cases *c, evn_ops *ops, const row_shape *s, evn_error *err)
{
	const uint32_t dim = s->width, stride = stride_of(dim), first = 2;
	const float eps = 1e-5f;
	const double relative =
		(evn_roundings(dim) + EVN_DIVIDE_ERROR + EVN_UNIT) / 2 + EVN_SQRT_ERROR + EVN_DIVIDE_ERROR + evn_roundings(3);
	evn_case_array x, w, y;
	EVN_TRY(make_rows(c, &x, first + s->n_tok, dim, err));
	EVN_TRY(make_rows(c, &w, 1, dim, err));
	EVN_TRY(evn_case_output(c, &y, (uint64_t)(s->n_tok + 1) * stride, err));
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
	EVN_TRY(evn_op_rmsnorm(ops, y.buf, x.buf, first, s->n_tok, w.buf, stride, dim, eps, err));
	return evn_case_check(c, &y, "y", err);
}

/* exp has 3 ulp, the sum with 1 and the last product one rounding each, the division 2.5 ulp, and one more unit
 * covers the products of these. Where exp(-gate) is beyond f32 the result may be 0, off by less than |gate up|
 * 2^-127. */
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
	EVN_TRY(evn_op_swiglu(ops, y.buf, y_stride, gu.buf, gu_stride, width, width, s->n_tok, err));
	return evn_case_check(c, &y, "y", err);
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

/* Words of flags as meeting.cl lays them out: a count every FLAG_WORDS, behind the counts who was late. */
enum { FLAG_WORDS = 16, LATE_SLOT = EVN_MAX_RANKS, ALL_FLAGS = (EVN_MAX_RANKS + 1) * FLAG_WORDS };

static float float_of_bits(uint32_t bits)
{
	float f;
	memcpy(&f, &bits, sizeof f);
	return f;
}

/* Flags in which the first `present` ranks but rank 0 have come to the meeting; rank 0's kernel comes to it. */
static evn_status make_flags(evn_cases *c, evn_case_array *flags, uint32_t present, uint32_t round, evn_error *err)
{
	EVN_TRY(evn_case_output(c, flags, ALL_FLAGS, err));
	for (uint32_t i = 0; i < ALL_FLAGS; i++)
		flags->values[i] = 0;
	for (uint32_t r = 1; r < present; r++)
		flags->values[r * FLAG_WORDS] = float_of_bits(round);
	EVN_TRY(evn_case_upload(c, flags, err));
	for (uint32_t i = 0; i < ALL_FLAGS; i++) {
		flags->want[i] = (double)flags->values[i];
		flags->bound[i] = 0;
	}
	flags->want[0] = (double)float_of_bits(round);
	return EVN_OK;
}

static void meeting_args(evn_args *a, const evn_case_array *flags, uint32_t n_ranks, uint32_t round)
{
	evn_arg_buf(a, flags->buf);
	evn_arg_u32(a, 0);
	evn_arg_u32(a, n_ranks);
	evn_arg_u32(a, round);
	evn_arg_u32(a, 100); /* looks */
}

typedef struct {
	uint32_t n;
	bool meets; /* by meet_and_add, whose one item sums after all have come */
} sum_shape;

/* A sum of n + 1 terms: n roundings at most. The partials beyond n are full of NaN: they must not be read. */
static evn_status sum_case(evn_cases *c, const void *shape, evn_error *err)
{
	const sum_shape *s = shape;
	const uint32_t width = 3 * EVN_PAD, round = 7;
	evn_case_array partial, nans, x, flags;
	evn_kernel *k;
	EVN_TRY(evn_kernel_get(&k, c->q, s->meets ? "meeting.cl" : "rowwise.cl",
						   s->meets ? "meet_and_add" : "add_partials", "", err));
	EVN_TRY(make_flags(c, &flags, s->n, round, err));
	EVN_TRY(evn_case_array_make(c, &nans, width, err));
	for (uint32_t i = 0; i < width; i++)
		nans.values[i] = NAN;
	EVN_TRY(evn_case_upload(c, &nans, err));
	EVN_TRY(evn_case_output(c, &x, width, err));
	for (uint32_t i = 0; i < width; i++)
		x.bound[i] = fabs(x.want[i]);
	evn_args a = evn_args_begin(k);
	if (s->meets)
		meeting_args(&a, &flags, s->n, round);
	evn_arg_buf(&a, x.buf);
	if (s->meets)
		evn_arg_u32(&a, width / 16);
	evn_arg_u32(&a, s->n);
	for (uint32_t p = 0; p < EVN_MAX_RANKS; p++) {
		partial = nans;
		if (p < s->n)
			EVN_TRY(evn_case_input(c, &partial, width, err));
		for (uint32_t i = 0; p < s->n && i < width; i++) {
			x.want[i] += (double)partial.values[i];
			x.bound[i] += fabs((double)partial.values[i]);
		}
		evn_arg_buf(&a, partial.buf);
	}
	for (uint32_t i = 0; i < width; i++)
		x.bound[i] *= evn_roundings(s->n);
	EVN_TRY(evn_launch(&a, 1, (size_t[]){s->meets ? 1 : width / 16}, (size_t[]){1}, err));
	if (s->meets)
		EVN_TRY(evn_case_check(c, &flags, "flags", err));
	return evn_case_check(c, &x, "x", err);
}

/* Three ranks, of which *shape have come: rank 0 either goes on or names the first that did not come. */
static evn_status meet_case(evn_cases *c, const void *shape, evn_error *err)
{
	const uint32_t present = *(const uint32_t *)shape, round = 70000;
	evn_case_array flags;
	evn_kernel *k;
	EVN_TRY(evn_kernel_get(&k, c->q, "meeting.cl", "meet", "", err));
	EVN_TRY(make_flags(c, &flags, present, round, err));
	if (present < 3)
		flags.want[LATE_SLOT * FLAG_WORDS] = (double)float_of_bits(present + 1);
	evn_args a = evn_args_begin(k);
	meeting_args(&a, &flags, 3, round);
	EVN_TRY(evn_launch(&a, 1, (size_t[]){1}, (size_t[]){1}, err));
	return evn_case_check(c, &flags, "flags", err);
}

void evn_selftest_rows(evn_cases *c)
{
	static const row_shape shapes[] = {{64, 2, true}, {48, 1, true}, {576, 3, false}, {1520, 2, false}};
	static const sum_shape sums[] = {{1, false}, {2, false},           {3, false}, {EVN_MAX_RANKS, false},
									 {2, true},  {EVN_MAX_RANKS, true}};
	static const uint32_t present[] = {1, 2, 3};
	static const row_shape norms[] = {{50, 2, true}, {32, 1, true}, {576, 3, false}, {1001, 2, false}};
	for (size_t i = 0; i < sizeof norms / sizeof *norms; i++)
		if (norms[i].tiny || !c->options.tiny)
			evn_case_run(c, rmsnorm_case, &norms[i], "rmsnorm %u x%u", norms[i].width, norms[i].n_tok);
	for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
		if (c->options.tiny && !shapes[i].tiny)
			continue;
		evn_case_run(c, swiglu_case, &shapes[i], "swiglu %u x%u", shapes[i].width, shapes[i].n_tok);
		evn_case_run(c, add_bias_case, &shapes[i], "add_bias %u x%u", shapes[i].width, shapes[i].n_tok);
	}
	for (size_t i = 0; i < sizeof sums / sizeof *sums; i++)
		evn_case_run(c, sum_case, &sums[i], "%s of %u", sums[i].meets ? "meet_and_add" : "add_partials", sums[i].n);
	for (size_t i = 0; i < sizeof present / sizeof *present; i++)
		evn_case_run(c, meet_case, &present[i], "meet %u of 3", present[i]);
}
