/* selftest_latent.c - known answers for attention over a latent vector (kernels/latent.cl). */
#include "nn/ops_latent.h"
#include "proof/selftest_case.h"

#include <math.h>

enum { ROTATED = 6, LATENT = 21, PLAIN = 11, VALUE = 9, HEADS = 3, FIRST = 1, N_TOK = 2 };
enum { WIDTH = ROTATED + LATENT, Q_STRIDE = 64, KV_STRIDE = 48, Q_AT = 3, KV_AT = 5, EVERY_HEAD = HEADS + FIRST };

static const evn_latent_heads heads = {ROTATED, LATENT, PLAIN, VALUE, HEADS, FIRST};
static const double norm_error = 2 * EVN_DIVIDE_ERROR + EVN_SQRT_ERROR;

/* Entry i of the RMS norm of n entries. */
static double normed(const float *x, const evn_case_array *w, const evn_latent_norm *norm, uint32_t i)
{
	double squares = 0;
	for (uint32_t k = 0; k < norm->n; k++)
		squares += (double)x[k] * (double)x[k];
	return (double)x[i] / sqrt(squares / norm->n + (double)norm->eps) * (double)w->values[i];
}

static void expect_product(const float *a, const float *b, uint32_t n, double *want, double *bound)
{
	double magnitudes = 0;
	*want = 0;
	for (uint32_t k = 0; k < n; k++) {
		*want += (double)a[k] * (double)b[k];
		magnitudes += fabs((double)a[k] * (double)b[k]);
	}
	*bound = evn_roundings(n + 1.0) * magnitudes;
}

static void expect_row(const float *q, const float *kv, const float *k_b, const evn_case_array *w,
					   const evn_latent_norm *norm, double *want, double *bound)
{
	for (uint32_t i = 0; i < ROTATED; i++)
		want[HEADS * WIDTH + i] = (double)kv[LATENT + i];
	for (uint32_t i = 0; i < LATENT; i++) {
		const uint32_t at = HEADS * WIDTH + ROTATED + i;
		want[at] = normed(kv, w, norm, i);
		bound[at] = (norm_error + evn_roundings(LATENT + 4.0)) * fabs(want[at]);
	}
	for (uint32_t h = 0; h < HEADS; h++) {
		const float *of = q + h * (PLAIN + ROTATED);
		for (uint32_t i = 0; i < ROTATED; i++)
			want[h * WIDTH + i] = (double)of[PLAIN + i];
		for (uint32_t i = 0; i < LATENT; i++)
			expect_product(k_b + ((h + FIRST) * LATENT + i) * PLAIN, of, PLAIN, &want[h * WIDTH + ROTATED + i],
						   &bound[h * WIDTH + ROTATED + i]);
	}
}

static evn_status check_rows(evn_cases *c, evn_ops *ops, evn_error *err)
{
	const uint32_t stride = 128;
	evn_case_array q, kv, k_b, w, y;
	EVN_TRY(evn_case_input(c, &q, N_TOK * Q_STRIDE, err));
	EVN_TRY(evn_case_input(c, &kv, N_TOK * KV_STRIDE, err));
	EVN_TRY(evn_case_input(c, &k_b, EVERY_HEAD * LATENT * PLAIN, err));
	EVN_TRY(evn_case_input(c, &w, LATENT, err));
	EVN_TRY(evn_case_output(c, &y, (uint64_t)N_TOK * stride, err));
	const evn_latent_norm norm = {w.buf, LATENT, 1e-5f};
	for (uint32_t t = 0; t < N_TOK; t++)
		expect_row(q.values + t * Q_STRIDE + Q_AT, kv.values + t * KV_STRIDE + KV_AT, k_b.values, &w, &norm,
				   y.want + t * stride, y.bound + t * stride);
	EVN_TRY(evn_op_latent_rows(ops, y.buf, stride, &heads, &(evn_columns_of){q.buf, Q_STRIDE, Q_AT},
							   &(evn_columns_of){kv.buf, KV_STRIDE, KV_AT}, k_b.buf, &norm, N_TOK, err));
	return evn_case_check(c, &y, "rows", err);
}

static evn_status check_values(evn_cases *c, evn_ops *ops, evn_error *err)
{
	const uint32_t stride = 64, x_stride = 96, first = 7;
	evn_case_array x, v_b, y;
	EVN_TRY(evn_case_input(c, &x, (uint64_t)N_TOK * x_stride, err));
	EVN_TRY(evn_case_input(c, &v_b, EVERY_HEAD * VALUE * LATENT, err));
	EVN_TRY(evn_case_output(c, &y, (uint64_t)N_TOK * stride, err));
	for (uint32_t t = 0; t < N_TOK; t++)
		for (uint32_t i = 0; i < stride; i++) {
			const uint32_t at = t * stride + i, column = i - first;
			y.want[at] = 0;
			if (i >= first && column < HEADS * VALUE)
				expect_product(v_b.values + (FIRST * VALUE + column) * LATENT,
							   x.values + t * x_stride + column / VALUE * WIDTH + ROTATED, LATENT, &y.want[at],
							   &y.bound[at]);
		}
	EVN_TRY(evn_op_latent_values(ops, y.buf, stride, first, &heads, x.buf, x_stride, v_b.buf, N_TOK, err));
	return evn_case_check(c, &y, "values", err);
}

static evn_status check_norm(evn_cases *c, evn_ops *ops, evn_error *err)
{
	const uint32_t stride = 32;
	evn_case_array x, w, y;
	EVN_TRY(evn_case_input(c, &x, N_TOK * KV_STRIDE, err));
	EVN_TRY(evn_case_input(c, &w, LATENT, err));
	EVN_TRY(evn_case_output(c, &y, (uint64_t)N_TOK * stride, err));
	const evn_latent_norm norm = {w.buf, LATENT, 1e-5f};
	for (uint32_t i = 0; i < N_TOK * stride; i++) {
		y.want[i] =
			i % stride < LATENT ? normed(x.values + i / stride * KV_STRIDE + KV_AT, &w, &norm, i % stride) : 0;
		y.bound[i] = (norm_error + evn_roundings(LATENT + 4.0)) * fabs(y.want[i]);
	}
	EVN_TRY(evn_op_norm_latent(ops, y.buf, stride, &(evn_columns_of){x.buf, KV_STRIDE, KV_AT}, &norm, N_TOK, err));
	return evn_case_check(c, &y, "norm", err);
}

static evn_status latent_case(evn_cases *c, const void *shape, evn_error *err)
{
	const evn_ops_config config = {0};
	evn_ops *ops;
	(void)shape;
	evn_status s = evn_ops_create(&ops, c->q, &config, err);
	if (s == EVN_OK)
		s = check_norm(c, ops, err);
	if (s == EVN_OK)
		s = check_rows(c, ops, err);
	if (s == EVN_OK)
		s = check_values(c, ops, err);
	evn_ops_free(ops);
	return s;
}

void evn_selftest_latent(evn_cases *c)
{
	evn_case_run(c, &(evn_case){latent_case, NULL, EVN_LATENT, NULL}, "%u heads", (unsigned)HEADS);
}
