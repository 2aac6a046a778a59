/* selftest_sums.c - known answers for the sums over ranks: the sum alone, with the norm that follows, behind flags,
 * and of packed messages. */
#include "proof/selftest_case.h"

#include "kernels/constants.h"
#include "nn/norm.h"

#include <math.h>
#include <string.h>

enum { MOST_RANKS = 12, FLAGS = EVN_FLAG_OF(MOST_RANKS) };

static float float_of_bits(uint32_t bits)
{
	float f;
	memcpy(&f, &bits, sizeof f);
	return f;
}

/* Makes flags that say: of the first `present` ranks, all but rank 0 have arrived at all-reduce `round`. Rank 0's
 * kernel arrives there itself. */
static evn_status make_flags(evn_cases *c, evn_case_array *flags, uint32_t present, uint32_t round, evn_error *err)
{
	EVN_TRY(evn_case_output(c, flags, FLAGS, err));
	for (uint32_t i = 0; i < FLAGS; i++)
		flags->values[i] = 0;
	flags->values[EVN_FLAG_OF(0)] = float_of_bits(round - 1);
	for (uint32_t r = 1; r < present; r++)
		flags->values[EVN_FLAG_OF(r)] = float_of_bits(round);
	for (uint64_t i = 0; i < flags->n; i++) {
		flags->want[i] = (double)flags->values[i];
		flags->bound[i] = 0;
	}
	flags->want[EVN_FLAG_OF(0)] = (double)float_of_bits(round);
	return evn_case_upload(c, flags, err);
}

static void arg_flags(evn_args *a, const evn_case_array *flags, uint32_t n_ranks)
{
	evn_arg_buf(a, flags->buf);
	evn_arg_u32x4(
		a, (uint32_t[]){0, (1u << n_ranks) - 1, 100, 3}); /* rank, bits of ranks, polls, polls before leaving */
}

/* The kernels that add partial sums. Either every work-group adds, or one work-item adds that has waited for the
 * other ranks. The norm may follow. */
typedef struct {
	uint32_t n_ranks;
	uint64_t ranks;          /* one bit for each rank with a partial sum */
	bool waits, norms, post; /* post: the sum of messages has a norm of its own */
	evn_act_format format;   /* the format that the norm writes */
	float kept, scale;
} sum_shape;

enum { N_TOK = 2, DIM = 3 * EVN_PAD - 5, STRIDE = 3 * EVN_PAD };

/* MOST_RANKS rows, each a partial sum. The rows of ranks without one are NaN, because they must not be read. */
static evn_status make_partials(evn_cases *c, const sum_shape *s, evn_case_array *partials, evn_case_array *x,
								evn_error *err)
{
	uint32_t n = s->kept != 1; /* a product that rounds */
	EVN_TRY(evn_case_array_make(c, partials, MOST_RANKS * x->n, err));
	for (uint64_t i = 0; i < x->n; i++) {
		x->want[i] *= (double)s->kept;
		x->bound[i] = fabs(x->want[i]);
	}
	for (uint32_t p = 0; p < MOST_RANKS; p++) {
		const bool has_one = s->ranks >> p & 1;
		n += has_one;
		for (uint64_t i = 0; i < x->n; i++) {
			float *value = &partials->values[p * x->n + i];
			*value = has_one ? evn_case_random(c) : NAN;
			x->want[i] += has_one ? (double)s->scale * (double)*value : 0;
			x->bound[i] += has_one ? fabs((double)s->scale * (double)*value) : 0;
		}
	}
	for (uint64_t i = 0; i < x->n; i++)
		x->bound[i] *= evn_roundings(n); /* the sum has n + 1 terms */
	return evn_case_upload(c, partials, err);
}

/* The error of rmsnorm in selftest_rows.c, and what the error of the sum adds to the numerator and the root. */
static double norm_error(void)
{
	return (evn_roundings(DIM) + EVN_DIVIDE_ERROR + EVN_UNIT) / 2 + EVN_SQRT_ERROR + EVN_DIVIDE_ERROR +
		   evn_roundings(3);
}

static void expect_norm(const evn_case_array *x, const evn_case_array *w, float eps, evn_case_array *y)
{
	const double own = norm_error();
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

/* What is kept of x's values plus scale times the norm of the partial sums, with the weights w. The sum's error is
 * inherited by its norm; the product with the weight is added with one more rounding. */
static evn_status expect_post_norm(evn_cases *c, const sum_shape *s, const evn_case_array *partials,
								   const evn_case_array *w, float eps, evn_case_array *x, evn_error *err)
{
	evn_case_array sum, y;
	EVN_TRY(evn_case_output(c, &sum, x->n, err));
	EVN_TRY(evn_case_output(c, &y, x->n, err));
	for (uint64_t i = 0; i < x->n; i++) {
		sum.want[i] = sum.bound[i] = 0;
		for (uint32_t p = 0; p < MOST_RANKS; p++)
			if (s->ranks >> p & 1) {
				sum.want[i] += (double)partials->values[p * x->n + i];
				sum.bound[i] += fabs((double)partials->values[p * x->n + i]);
			}
		sum.bound[i] *= evn_roundings(MOST_RANKS);
	}
	expect_norm(&sum, w, eps, &y);
	for (uint64_t i = 0; i < x->n; i++) {
		const double kept = s->kept != 0 ? (double)s->kept * (double)x->values[i] : 0;
		x->want[i] = kept + (double)s->scale * y.want[i];
		x->bound[i] = fabs((double)s->scale) * y.bound[i] * 1.01 +
					  3 * EVN_UNIT * (fabs(kept) + fabs((double)s->scale * y.want[i]));
	}
	return EVN_OK;
}

/* The work-items that share a row. */
static uint32_t items_of(const evn_cases *c, const sum_shape *s)
{
	return s->norms ? evn_device_row_items(evn_queue_device(c->q)) : 1;
}

static evn_status launch_sum(evn_cases *c, const sum_shape *s, evn_args *a, evn_error *err)
{
	if (!s->waits && !s->norms)
		return evn_launch_items(a, N_TOK * STRIDE / evn_device_lanes(evn_queue_device(c->q)), err);
	size_t groups = s->waits ? 1 : N_TOK;
	return evn_launch(a, 1, &groups, (size_t[]){items_of(c, s)}, err);
}

static evn_status sum_kernel(evn_cases *c, const sum_shape *s, evn_kernel **k, evn_error *err)
{
	static const char *const names[2][2] = {{"add_partials", "add_norm"}, {"flags_and_add", "flags_and_norm"}};
	static const char *const files[2][2] = {{"add_partials.cl", "add_norm.cl"},
											{"flags_sum.cl", "flags_and_norm.cl"}};
	evn_spec spec = evn_spec_of(files[s->waits][s->norms]);
	evn_spec_part(&spec, "MESSAGE", "message/f32.cl"); /* named as src/group names it: the program is built once */
	evn_spec_option(&spec, s->post ? "-DPOST_NORM" : "");
	if (s->norms)
		evn_spec_norm(&spec, EVN_NORM_RMS, s->format, items_of(c, s));
	else if (!s->waits)
		evn_spec_lanes(&spec, evn_device_lanes(evn_queue_device(c->q)));
	return evn_kernel_get(k, c->q, &spec, names[s->waits][s->norms], err);
}

static void arg_sum(evn_args *a, const evn_case_array *x, const evn_buf *messages, uint64_t apart, uint64_t ranks,
					const float scale[2])
{
	evn_arg_buf(a, x->buf);
	evn_arg_buf(a, messages);
	evn_arg_u64x2(a, (uint64_t[]){apart, ranks});
	evn_arg_f32x2(a, scale);
}

static evn_status sum_case(evn_cases *c, const void *shape, evn_error *err)
{
	const sum_shape *s = shape;
	const float eps = 1e-5f;
	evn_case_array x, w, y, post, flags, partials;
	evn_kernel *k;
	EVN_TRY(sum_kernel(c, s, &k, err));
	EVN_TRY(make_flags(c, &flags, s->n_ranks, 7, err));
	EVN_TRY(evn_case_output(c, &x, N_TOK * STRIDE, err));
	EVN_TRY(evn_case_output(c, &y, N_TOK * STRIDE, err));
	EVN_TRY(evn_case_input(c, &w, STRIDE, err));
	EVN_TRY(evn_case_input(c, &post, STRIDE, err));
	for (uint64_t i = 0; i < x.n && s->kept == 0; i++)
		x.values[i] = NAN; /* nothing of it may stay */
	EVN_TRY(evn_case_upload(c, &x, err));
	EVN_TRY(make_partials(c, s, &partials, &x, err));
	if (s->post)
		EVN_TRY(expect_post_norm(c, s, &partials, &post, eps, &x, err));
	expect_norm(&x, &w, eps, &y);
	evn_args a = evn_args_begin(k);
	if (s->waits)
		arg_flags(&a, &flags, s->n_ranks);
	arg_sum(&a, &x, partials.buf, x.n * sizeof(float), s->ranks, (float[]){s->kept, s->scale});
	if (s->waits)
		evn_arg_u32(&a, s->norms ? N_TOK : N_TOK * STRIDE / 16);
	if (s->norms)
		evn_arg_norm(&a, &(evn_norm){EVN_NORM_RMS, s->format, y.buf, w.buf, NULL, DIM, eps, NULL}, STRIDE);
	if (s->post)
		evn_arg_buf(&a, post.buf);
	EVN_TRY(launch_sum(c, s, &a, err));
	if (s->waits)
		EVN_TRY(evn_case_check(c, &flags, "flags", err));
	if (s->norms)
		EVN_TRY(evn_case_check_format(c, &y, s->format, "y", err));
	return evn_case_check(c, &x, "x", err);
}

/* Three ranks. *shape of them have arrived at the all-reduce before rank 0's last. Rank 0 either goes on, or it names
 * the first rank that has not arrived. */
static evn_status flags_case(evn_cases *c, const void *shape, evn_error *err)
{
	const uint32_t present = *(const uint32_t *)shape, round = 70000;
	evn_case_array flags;
	const evn_spec spec = evn_spec_of("flags_sum.cl");
	evn_kernel *arrive, *wait;
	EVN_TRY(evn_kernel_get(&arrive, c->q, &spec, "flags_arrive", err));
	EVN_TRY(evn_kernel_get(&wait, c->q, &spec, "flags_wait", err));
	EVN_TRY(make_flags(c, &flags, present, round, err));
	flags.want[EVN_FLAG_OF(0)] = (double)float_of_bits(round + 1);
	for (int i = 0; i < 2; i++) {
		evn_args a = evn_args_begin(arrive);
		evn_arg_buf(&a, flags.buf);
		evn_arg_u32(&a, 0);
		EVN_TRY(evn_launch(&a, 1, (size_t[]){1}, (size_t[]){1}, err));
	}
	if (present < 3)
		flags.want[EVN_FLAG_LATE] = (double)float_of_bits(present + 1);
	evn_args a = evn_args_begin(wait);
	arg_flags(&a, &flags, 3);
	evn_arg_u32(&a, 1);
	EVN_TRY(evn_launch(&a, 1, (size_t[]){1}, (size_t[]){1}, err));
	return evn_case_check(c, &flags, "flags", err);
}

/* The formats of packed messages in kernels/message/, with the largest error of packing a value: as a fraction of the
 * value, as a fraction of the largest in its block, and the least absolute error. The q8 scale is the result of a
 * division, rounded up to 8 bits. A byte is computed with its inverse and a product. */
typedef struct {
	const char *name;
	double of_value, of_block, least;
} message_shape;

static const message_shape message_shapes[] = {
	{"f16", 0x1p-11, 0, 0x1p-25},
	{"bf16", 0x1p-8, 0, 0},
	{"q8", 0, (0.5 + 127 * (2 * EVN_DIVIDE_ERROR + 2 * EVN_UNIT)) / 127 * (1 + 0x1p-7), 0},
};

/* The blocks have very different magnitudes. One of them is zero. */
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

/* Packs two messages, the second one as rank 2's, and adds both to x. */
static evn_status pack_and_add(evn_cases *c, const message_shape *m, evn_case_array *partials, const evn_buf *packed,
							   const evn_case_array *x, evn_error *err)
{
	evn_kernel *pack, *add;
	evn_spec spec = evn_spec_of("pack.cl");
	evn_spec_part(&spec, "MESSAGE", "message/%s.cl", m->name);
	EVN_TRY(evn_kernel_get(&pack, c->q, &spec, "pack", err));
	spec = evn_spec_of("add_partials.cl");
	evn_spec_part(&spec, "MESSAGE", "message/%s.cl", m->name);
	evn_spec_lanes(&spec, evn_device_lanes(evn_queue_device(c->q)));
	EVN_TRY(evn_kernel_get(&add, c->q, &spec, "add_partials", err));
	for (uint32_t i = 0; i < 2; i++) {
		evn_buf *part;
		EVN_TRY(evn_buf_part(&part, packed, 2 * i * EVN_PART_ALIGN, EVN_PART_ALIGN, "a message", err));
		evn_args a = evn_args_begin(pack);
		evn_arg_buf(&a, part);
		evn_arg_buf(&a, partials[i].buf);
		evn_status s = evn_launch_items(&a, (uint32_t)(partials[i].n / 32), err);
		evn_buf_free(part);
		EVN_TRY(s);
	}
	evn_args a = evn_args_begin(add);
	arg_sum(&a, x, packed, EVN_PART_ALIGN, 5, (float[]){1, 1});
	return evn_launch_items(&a, (uint32_t)x->n / evn_device_lanes(evn_queue_device(c->q)), err);
}

static evn_status message_case(evn_cases *c, const void *shape, evn_error *err)
{
	enum { N = 11 * 32 };
	const message_shape *m = shape;
	evn_case_array partials[2], packed, x;
	EVN_TRY(evn_case_output(c, &x, N, err));
	EVN_TRY(evn_case_input(c, &packed, 3 * EVN_PART_ALIGN / sizeof(float), err));
	for (int i = 0; i < 2; i++) {
		EVN_TRY(evn_case_array_make(c, &partials[i], N, err));
		EVN_TRY(make_message(c, m, &partials[i], &x, err));
	}
	for (int i = 0; i < N; i++) /* an intermediate sum can be a unit larger than the final one */
		x.bound[i] += evn_roundings(2) * (fabs((double)x.values[i]) + fabs((double)partials[0].values[i]) +
										  fabs((double)partials[1].values[i]) + 2 * x.bound[i]);
	EVN_TRY(pack_and_add(c, m, partials, packed.buf, &x, err));
	return evn_case_check(c, &x, "x", err);
}

static void sums_of(evn_cases *c, sum_shape s)
{
	evn_case_run(c, &(evn_case){sum_case, &s, s.waits ? "flags_and_add" : "add_partials", NULL}, "of %u", s.n_ranks);
	s.norms = true;
	for (s.format = 0; s.format < EVN_ACT_FORMATS; s.format++)
		if (evn_case_has_format(c, s.format))
			evn_case_run(c, &(evn_case){sum_case, &s, s.waits ? "flags_and_norm" : "add_norm", NULL}, "%s of %u",
						 s.format == EVN_ACT_Q8 ? "q8" : "f32", s.n_ranks);
	s.post = true;
	s.format = EVN_ACT_F32; /* the norm that follows is the same code */
	evn_case_run(c, &(evn_case){sum_case, &s, s.waits ? "flags_and_norm" : EVN_ADD_POST_NORM, NULL}, "post of %u",
				 s.n_ranks);
}

void evn_selftest_sums(evn_cases *c)
{
	static const struct {
		uint32_t n;
		uint64_t ranks;
		float kept, scale;
	} groups[] = {{1, 1, 1, 1},    {2, 3, 1, 1},   {3, 5, 0.6f, -0.375f},
				  {2, 3, 0, 0.5f}, {8, 255, 1, 1}, {MOST_RANKS, 0xdb6, 1, 1}};
	static const uint32_t present[] = {1, 2, 3};
	for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
		for (int waits = 0; waits < 2; waits++)
			sums_of(c, (sum_shape){.n_ranks = groups[i].n,
								   .ranks = groups[i].ranks,
								   .waits = waits,
								   .kept = groups[i].kept,
								   .scale = groups[i].scale});
	for (size_t i = 0; i < sizeof present / sizeof *present; i++)
		evn_case_run(c, &(evn_case){flags_case, &present[i], "flags", NULL}, "%u of 3", present[i]);
	for (size_t i = 0; i < sizeof message_shapes / sizeof *message_shapes; i++)
		evn_case_run(c, &(evn_case){message_case, &message_shapes[i], "add_packed", NULL}, "%s",
					 message_shapes[i].name);
}
