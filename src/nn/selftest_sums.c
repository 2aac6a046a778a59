/* selftest_sums.c - known answers for the sums over ranks: alone, with the norm that follows, inside a meeting. */
#include "nn/selftest_case.h"

#include <math.h>
#include <string.h>

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

/* The kernels of kernels/reduce.cl and kernels/meeting.cl: by groups of their own or by the one item that has met the
 * other ranks; the sum alone or its norm too. */
typedef struct {
	uint32_t n;
	bool meets, norms;
	evn_form form; /* of the norm */
} sum_shape;

enum { N_TOK = 2, DIM = 3 * EVN_PAD - 5, STRIDE = 3 * EVN_PAD };

/* The partials beyond n are full of NaN: they must not be read. */
static evn_status make_partials(evn_cases *c, uint32_t n, evn_case_array *x, evn_case_array *partials, evn_error *err)
{
	evn_case_array nans;
	EVN_TRY(evn_case_array_make(c, &nans, x->n, err));
	for (uint32_t i = 0; i < x->n; i++)
		nans.values[i] = NAN;
	EVN_TRY(evn_case_upload(c, &nans, err));
	for (uint32_t i = 0; i < x->n; i++)
		x->bound[i] = fabs(x->want[i]);
	for (uint32_t p = 0; p < EVN_MAX_RANKS; p++) {
		partials[p] = nans;
		if (p >= n)
			continue;
		EVN_TRY(evn_case_input(c, &partials[p], x->n, err));
		for (uint32_t i = 0; i < x->n; i++) {
			x->want[i] += (double)partials[p].values[i];
			x->bound[i] += fabs((double)partials[p].values[i]);
		}
	}
	for (uint32_t i = 0; i < x->n; i++)
		x->bound[i] *= evn_roundings(n); /* n + 1 terms */
	return EVN_OK;
}

/* As rmsnorm's in selftest_rows.c, and what the error of the sum adds to numerator and root. */
static void expect_norm(const evn_case_array *x, const evn_case_array *w, float eps, evn_case_array *y)
{
	const double own =
		(evn_roundings(DIM) + EVN_DIVIDE_ERROR + EVN_UNIT) / 2 + EVN_SQRT_ERROR + EVN_DIVIDE_ERROR + evn_roundings(3);
	for (uint32_t t = 0; t < N_TOK; t++) {
		const double *row = x->want + t * STRIDE, *error = x->bound + t * STRIDE;
		double squares = 0, inherited = 0;
		for (uint32_t i = 0; i < STRIDE; i++) {
			squares += row[i] * row[i];
			inherited += fabs(row[i]) * error[i];
		}
		double rms = sqrt(squares / DIM + (double)eps), relative = own + inherited / (DIM * rms * rms);
		for (uint32_t i = 0; i < STRIDE; i++) {
			double weight = (double)w->values[i];
			y->want[t * STRIDE + i] = row[i] / rms * weight;
			y->bound[t * STRIDE + i] = relative * fabs(y->want[t * STRIDE + i]) + fabs(weight) * error[i] / rms;
		}
	}
}

/* That share a row. */
static uint32_t items_of(const evn_cases *c, const sum_shape *s)
{
	uint32_t items = c->options.items ? c->options.items : evn_device_row_items(evn_queue_device(c->q));
	return s->norms && !s->meets ? items : 1;
}

static evn_status launch_sum(evn_cases *c, const sum_shape *s, evn_args *a, evn_error *err)
{
	size_t groups = s->meets ? 1 : s->norms ? N_TOK : N_TOK * STRIDE / 16;
	return evn_launch(a, 1, &groups, (size_t[]){items_of(c, s)}, err);
}

static evn_status sum_kernel(evn_cases *c, const sum_shape *s, evn_kernel **k, evn_error *err)
{
	const char *name = s->meets   ? s->norms ? "meet_and_norm" : "meet_and_add"
					   : s->norms ? "add_norm"
								  : "add_partials";
	return evn_norm_kernel_get(k, c->q, EVN_NORM_RMS, s->form, s->meets ? "reduce.cl meeting.cl" : "reduce.cl", name,
							   items_of(c, s), err);
}

static evn_status sum_case(evn_cases *c, const void *shape, evn_error *err)
{
	const sum_shape *s = shape;
	const uint32_t round = 7;
	const float eps = 1e-5f;
	evn_case_array partials[EVN_MAX_RANKS], x, w, y, flags;
	evn_kernel *k;
	EVN_TRY(sum_kernel(c, s, &k, err));
	EVN_TRY(make_flags(c, &flags, s->n, round, err));
	EVN_TRY(evn_case_output(c, &x, N_TOK * STRIDE, err));
	EVN_TRY(evn_case_output(c, &y, N_TOK * STRIDE, err));
	EVN_TRY(evn_case_input(c, &w, STRIDE, err));
	EVN_TRY(make_partials(c, s->n, &x, partials, err));
	expect_norm(&x, &w, eps, &y);
	evn_args a = evn_args_begin(k);
	if (s->meets) {
		meeting_args(&a, &flags, s->n, round);
		evn_arg_u32(&a, s->norms ? N_TOK : N_TOK * STRIDE / 16);
	}
	evn_arg_buf(&a, x.buf);
	evn_arg_u32(&a, s->n);
	for (uint32_t p = 0; p < EVN_MAX_RANKS; p++)
		evn_arg_buf(&a, partials[p].buf);
	if (s->norms)
		evn_arg_norm(&a, &(evn_norm){EVN_NORM_RMS, s->form, y.buf, w.buf, NULL, DIM, eps}, STRIDE);
	EVN_TRY(launch_sum(c, s, &a, err));
	if (s->meets)
		EVN_TRY(evn_case_check(c, &flags, "flags", err));
	if (s->norms)
		EVN_TRY(s->form == EVN_FORM_Q8 ? evn_case_check_q8(c, &y, "y", err) : evn_case_check(c, &y, "y", err));
	return evn_case_check(c, &x, "x", err);
}

/* Three ranks, of which *shape have come: rank 0 either goes on or names the first that did not come. */
static evn_status meet_case(evn_cases *c, const void *shape, evn_error *err)
{
	const uint32_t present = *(const uint32_t *)shape, round = 70000;
	evn_case_array flags;
	evn_kernel *k;
	EVN_TRY(evn_norm_kernel_get(&k, c->q, EVN_NORM_NONE, EVN_FORM_F32, "reduce.cl meeting.cl", "meet", 1, err));
	EVN_TRY(make_flags(c, &flags, present, round, err));
	if (present < 3)
		flags.want[LATE_SLOT * FLAG_WORDS] = (double)float_of_bits(present + 1);
	evn_args a = evn_args_begin(k);
	meeting_args(&a, &flags, 3, round);
	EVN_TRY(evn_launch(&a, 1, (size_t[]){1}, (size_t[]){1}, err));
	return evn_case_check(c, &flags, "flags", err);
}

void evn_selftest_sums(evn_cases *c)
{
	static const uint32_t counts[] = {1, 2, 3, EVN_MAX_RANKS}, present[] = {1, 2, 3};
	for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
		for (int meets = 0; meets < 2; meets++) {
			sum_shape s = {.n = counts[i], .meets = meets};
			evn_case_run(c, sum_case, &s, "%s of %u", meets ? "meet_and_add" : "add_partials", s.n);
			s.norms = true;
			for (s.form = 0; s.form < EVN_FORMS; s.form++)
				evn_case_run(c, sum_case, &s, "%s %s of %u", meets ? "meet_and_norm" : "add_norm",
							 s.form == EVN_FORM_Q8 ? "q8" : "f32", s.n);
		}
	for (size_t i = 0; i < sizeof present / sizeof *present; i++)
		evn_case_run(c, meet_case, &present[i], "meet %u of 3", present[i]);
}
