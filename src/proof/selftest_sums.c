/* selftest_sums.c - known answers for the sums over ranks: alone, with the norm that follows, behind flags, of
 * packed messages. */
#include "proof/selftest_case.h"

#include <math.h>
#include <string.h>

/* Words of the shared memory before the partials, which begin a multiple of sixteen words from its beginning. */
enum { ALL_FLAGS = (EVN_LATE_SLOT + 1) * EVN_FLAG_WORDS };

static float float_of_bits(uint32_t bits)
{
	float f;
	memcpy(&f, &bits, sizeof f);
	return f;
}

/* Shared memory in which the first `present` ranks but rank 0 have arrived at all-reduce `round`; rank 0's kernel
 * arrives there. Behind the flags n_floats more. */
static evn_status make_shared(evn_cases *c, evn_case_array *shared, uint32_t present, uint32_t round,
							  uint64_t n_floats, evn_error *err)
{
	EVN_TRY(evn_case_output(c, shared, ALL_FLAGS + n_floats, err));
	for (uint32_t i = 0; i < ALL_FLAGS; i++)
		shared->values[i] = 0;
	shared->values[0] = float_of_bits(round - 1);
	for (uint32_t r = 1; r < present; r++)
		shared->values[r * EVN_FLAG_WORDS] = float_of_bits(round);
	EVN_TRY(evn_case_upload(c, shared, err));
	for (uint64_t i = 0; i < shared->n; i++) {
		shared->want[i] = (double)shared->values[i];
		shared->bound[i] = 0;
	}
	shared->want[0] = (double)float_of_bits(round);
	return EVN_OK;
}

static void flags_args(evn_args *a, const evn_case_array *shared, uint32_t n_ranks)
{
	evn_arg_buf(a, shared->buf);
	evn_arg_u32(a, 0);
	evn_arg_u32(a, n_ranks);
	evn_arg_u32(a, 100); /* looks */
	evn_arg_u32(a, 3);   /* more before it goes */
}

/* The kernels that sum partial results: by groups of their own or by the one item that has waited for the
 * other ranks; the sum alone or its norm too. */
typedef struct {
	uint32_t n_ranks, ranks; /* a bit for each rank */
	bool waits, norms;
	evn_form form; /* of the norm */
} sum_shape;

enum { N_TOK = 2, DIM = 3 * EVN_PAD - 5, STRIDE = 3 * EVN_PAD };

/* One array of EVN_MAX_RANKS rows, each a partial; those of ranks that do not contribute are full of NaN: they must
 * not be read. */
static void make_partials(evn_cases *c, uint32_t ranks, float *partials, evn_case_array *x)
{
	uint32_t n = 0;
	for (uint64_t i = 0; i < x->n; i++)
		x->bound[i] = fabs(x->want[i]);
	for (uint32_t p = 0; p < EVN_MAX_RANKS; p++) {
		n += ranks >> p & 1;
		for (uint64_t i = 0; i < x->n; i++) {
			float *value = &partials[p * x->n + i];
			*value = ranks >> p & 1 ? evn_case_random(c) : NAN;
			x->want[i] += ranks >> p & 1 ? (double)*value : 0;
			x->bound[i] += ranks >> p & 1 ? fabs((double)*value) : 0;
		}
	}
	for (uint64_t i = 0; i < x->n; i++)
		x->bound[i] *= evn_roundings(n); /* n + 1 terms */
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
	return s->norms && !s->waits ? items : 1;
}

static evn_status launch_sum(evn_cases *c, const sum_shape *s, evn_args *a, evn_error *err)
{
	if (!s->waits && !s->norms)
		return evn_launch_items(a, N_TOK * STRIDE / 16, err);
	size_t groups = s->waits ? 1 : N_TOK;
	return evn_launch(a, 1, &groups, (size_t[]){items_of(c, s)}, err);
}

static evn_status sum_kernel(evn_cases *c, const sum_shape *s, evn_kernel **k, evn_error *err)
{
	static const char *const names[2][2] = {{"add_partials", "add_norm"}, {"flags_and_add", "flags_and_norm"}};
	static const char *const files[2][2] = {{"add_partials.cl", "add_norm.cl"},
											{"flags_sum.cl", "flags_and_norm.cl"}};
	evn_spec spec = evn_spec_of(files[s->waits][s->norms]);
	evn_spec_part(&spec, "MESSAGE", "message/f32.cl");
	if (s->norms)
		evn_spec_norm(&spec, EVN_NORM_RMS, s->form, items_of(c, s));
	return evn_kernel_get(k, c->q, &spec, names[s->waits][s->norms], err);
}

/* The partials lie behind the flags. */
static evn_status arg_shared(evn_cases *c, const sum_shape *s, evn_args *a, evn_case_array *shared,
							 const evn_case_array *x, evn_error *err)
{
	EVN_TRY(evn_case_upload(c, shared, err));
	flags_args(a, shared, s->n_ranks);
	evn_arg_u32(a, N_TOK * STRIDE / 16); /* apart */
	evn_arg_buf(a, x->buf);
	evn_arg_u32(a, s->norms ? N_TOK : N_TOK * STRIDE / 16);
	evn_arg_u32(a, ALL_FLAGS / 16);
	evn_arg_u32(a, s->ranks);
	return EVN_OK;
}

/* Each partial in a buffer, the ranks' first. */
static evn_status arg_partials(evn_cases *c, uint32_t ranks, evn_args *a, const float *partials,
							   const evn_case_array *x, evn_error *err)
{
	uint32_t n = 0;
	evn_arg_buf(a, x->buf);
	for (uint32_t p = 0; p < EVN_MAX_RANKS; p++)
		n += ranks >> p & 1;
	evn_arg_u32(a, n);
	for (int contributes = 1; contributes >= 0; contributes--)
		for (uint32_t p = 0; p < EVN_MAX_RANKS; p++) {
			evn_case_array partial;
			if ((ranks >> p & 1) != (uint32_t)contributes)
				continue;
			EVN_TRY(evn_case_array_make(c, &partial, x->n, err));
			memcpy(partial.values, partials + p * x->n, x->n * sizeof *partials);
			EVN_TRY(evn_case_upload(c, &partial, err));
			evn_arg_buf(a, partial.buf);
		}
	return EVN_OK;
}

static evn_status sum_case(evn_cases *c, const void *shape, evn_error *err)
{
	const sum_shape *s = shape;
	const float eps = 1e-5f;
	evn_case_array x, w, y, shared;
	evn_kernel *k;
	EVN_TRY(sum_kernel(c, s, &k, err));
	EVN_TRY(make_shared(c, &shared, s->n_ranks, 7, EVN_MAX_RANKS * N_TOK * STRIDE, err));
	EVN_TRY(evn_case_output(c, &x, N_TOK * STRIDE, err));
	EVN_TRY(evn_case_output(c, &y, N_TOK * STRIDE, err));
	EVN_TRY(evn_case_input(c, &w, STRIDE, err));
	make_partials(c, s->ranks, shared.values + ALL_FLAGS, &x);
	expect_norm(&x, &w, eps, &y);
	evn_args a = evn_args_begin(k);
	EVN_TRY(s->waits ? arg_shared(c, s, &a, &shared, &x, err)
					 : arg_partials(c, s->ranks, &a, shared.values + ALL_FLAGS, &x, err));
	if (s->norms)
		evn_arg_norm(&a, &(evn_norm){EVN_NORM_RMS, s->form, y.buf, w.buf, NULL, DIM, eps}, STRIDE);
	EVN_TRY(launch_sum(c, s, &a, err));
	shared.n = ALL_FLAGS;
	if (s->waits)
		EVN_TRY(evn_case_check(c, &shared, "flags", err));
	if (s->norms)
		EVN_TRY(s->form == EVN_FORM_Q8 ? evn_case_check_q8(c, &y, "y", err) : evn_case_check(c, &y, "y", err));
	return evn_case_check(c, &x, "x", err);
}

/* Three ranks, of which *shape have arrived at the all-reduce before rank 0's last: rank 0 either goes on or names
 * the first that has not arrived. */
static evn_status flags_case(evn_cases *c, const void *shape, evn_error *err)
{
	const uint32_t present = *(const uint32_t *)shape, round = 70000;
	evn_case_array flags;
	evn_spec spec = evn_spec_of("flags_sum.cl");
	evn_kernel *arrive, *wait;
	evn_spec_part(&spec, "MESSAGE", "message/f32.cl");
	EVN_TRY(evn_kernel_get(&arrive, c->q, &spec, "flags_arrive", err));
	EVN_TRY(evn_kernel_get(&wait, c->q, &spec, "flags_wait", err));
	EVN_TRY(make_shared(c, &flags, present, round, 0, err));
	flags.want[0] = (double)float_of_bits(round + 1);
	for (int i = 0; i < 2; i++) {
		evn_args a = evn_args_begin(arrive);
		evn_arg_buf(&a, flags.buf);
		evn_arg_u32(&a, 0);
		EVN_TRY(evn_launch(&a, 1, (size_t[]){1}, (size_t[]){1}, err));
	}
	if (present < 3)
		flags.want[EVN_LATE_SLOT * EVN_FLAG_WORDS] = (double)float_of_bits(present + 1);
	evn_args a = evn_args_begin(wait);
	flags_args(&a, &flags, 3);
	evn_arg_u32(&a, 1);
	EVN_TRY(evn_launch(&a, 1, (size_t[]){1}, (size_t[]){1}, err));
	return evn_case_check(c, &flags, "flags", err);
}

/* Formats of long messages as kernels/message/ has them: what a value moves when it is packed, as a fraction of
 * itself, of the largest of its block, and at least. The q8 scale is a division's result rounded up to 8 bits; a byte
 * goes through its inverse and a product. */
typedef struct {
	const char *name;
	double of_value, of_block, least;
} message_shape;

static const message_shape message_shapes[] = {
	{"f16", 0x1p-11, 0, 0x1p-25},
	{"bf16", 0x1p-8, 0, 0},
	{"q8", 0, (0.5 + 127 * (2 * EVN_DIVIDE_ERROR + 2 * EVN_UNIT)) / 127 * (1 + 0x1p-7), 0},
};

/* Blocks of very different sizes, one of them zeros. */
static evn_status make_message(evn_cases *c, const message_shape *m, evn_case_array *partial, evn_case_array *x,
							   evn_error *err)
{
	for (uint64_t b = 0; b < partial->n / 32; b++) {
		float *values = partial->values + b * 32, top = 0, scale = b ? ldexpf(1, (int)(b * 7 % 23) - 10) : 0;
		for (uint64_t i = 0; i < 32; i++) {
			values[i] *= scale;
			top = fmaxf(top, fabsf(values[i]));
		}
		for (uint64_t i = 0; i < 32; i++) {
			x->want[b * 32 + i] += (double)values[i];
			x->bound[b * 32 + i] += m->of_value * fabs((double)values[i]) + m->of_block * (double)top + m->least;
		}
	}
	return evn_case_upload(c, partial, err);
}

/* Two messages packed, then added to x. */
static evn_status message_case(evn_cases *c, const void *shape, evn_error *err)
{
	enum { N = 11 * 32 };
	const message_shape *m = shape;
	evn_spec packs = evn_spec_of("pack.cl"), adds = evn_spec_of("add_partials.cl");
	evn_kernel *pack, *add;
	evn_case_array partials[2], packed[2], x;
	evn_spec_part(&packs, "MESSAGE", "message/%s.cl", m->name);
	EVN_TRY(evn_kernel_get(&pack, c->q, &packs, "pack", err));
	evn_spec_part(&adds, "MESSAGE", "message/%s.cl", m->name);
	EVN_TRY(evn_kernel_get(&add, c->q, &adds, "add_partials", err));
	EVN_TRY(evn_case_output(c, &x, N, err));
	for (int i = 0; i < 2; i++) {
		EVN_TRY(evn_case_input(c, &packed[i], N, err));
		EVN_TRY(evn_case_array_make(c, &partials[i], N, err));
		EVN_TRY(make_message(c, m, &partials[i], &x, err));
		evn_args a = evn_args_begin(pack);
		evn_arg_buf(&a, packed[i].buf);
		evn_arg_buf(&a, partials[i].buf);
		EVN_TRY(evn_launch_items(&a, N / 32, err));
	}
	for (int i = 0; i < N; i++) /* what adds up may be a unit larger than the sum */
		x.bound[i] += evn_roundings(2) * (fabs((double)x.values[i]) + fabs((double)partials[0].values[i]) +
										  fabs((double)partials[1].values[i]) + 2 * x.bound[i]);
	evn_args a = evn_args_begin(add);
	evn_arg_buf(&a, x.buf);
	evn_arg_u32(&a, 2);
	for (int i = 0; i < EVN_MAX_RANKS; i++)
		evn_arg_buf(&a, packed[i % 2].buf);
	EVN_TRY(evn_launch_items(&a, N / 16, err));
	return evn_case_check(c, &x, "x", err);
}

void evn_selftest_sums(evn_cases *c)
{
	static const uint32_t groups[][2] = {{1, 1}, {2, 3}, {3, 5}, {EVN_MAX_RANKS, (1 << EVN_MAX_RANKS) - 1}};
	static const uint32_t present[] = {1, 2, 3};
	for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
		for (int waits = 0; waits < 2; waits++) {
			sum_shape s = {.n_ranks = groups[i][0], .ranks = groups[i][1], .waits = waits};
			evn_case_run(c, sum_case, &s, "%s of %u", waits ? "flags_and_add" : "add_partials", s.n_ranks);
			s.norms = true;
			for (s.form = 0; s.form < EVN_FORMS; s.form++)
				evn_case_run(c, sum_case, &s, "%s %s of %u", waits ? "flags_and_norm" : "add_norm",
							 s.form == EVN_FORM_Q8 ? "q8" : "f32", s.n_ranks);
		}
	for (size_t i = 0; i < sizeof present / sizeof *present; i++)
		evn_case_run(c, flags_case, &present[i], "flags %u of 3", present[i]);
	for (size_t i = 0; i < sizeof message_shapes / sizeof *message_shapes; i++)
		evn_case_run(c, message_case, &message_shapes[i], "add_packed %s", message_shapes[i].name);
}
