/* test_backward_gpt2.c - gradients of LayerNorm, GELU, biases, learned positions and dropout, on every usable
 * device. */
#include "train/rig.h"

/* ---- LayerNorm: far from zero, where squares would cancel ------------------------------------------------------ */

enum { TOK = 5, DIM = 50, STRIDE = 64 };

typedef struct {
	const float *x, *w, *bias, *c;
} norm_arg;

/* One of the three inputs varies. */
static double norm_loss(const norm_arg *a, const double *x, const double *w, const double *bias)
{
	double sum = 0;
	for (int t = 0; t < TOK; t++) {
		double mean = 0, variance = 0, row[DIM];
		for (int i = 0; i < DIM; i++) {
			row[i] = x ? x[t * STRIDE + i] : (double)a->x[t * STRIDE + i];
			mean += row[i] / DIM;
		}
		for (int i = 0; i < DIM; i++)
			variance += (row[i] - mean) * (row[i] - mean) / DIM;
		for (int i = 0; i < DIM; i++)
			sum += (double)a->c[t * STRIDE + i] *
				   ((row[i] - mean) / sqrt(variance + 1e-5) * (w ? w[i] : (double)a->w[i]) +
					(bias ? bias[i] : (double)a->bias[i]));
	}
	return sum;
}

static double norm_of_x(const void *arg, const double *x) { return norm_loss(arg, x, NULL, NULL); }
static double norm_of_w(const void *arg, const double *w) { return norm_loss(arg, NULL, w, NULL); }
static double norm_of_bias(const void *arg, const double *bias) { return norm_loss(arg, NULL, NULL, bias); }

static void layernorm(rig *r)
{
	evn_error err;
	size_t n = (size_t)TOK * STRIDE;
	float *x = numbers(r, n), *w = numbers(r, STRIDE), *bias = numbers(r, STRIDE), *c = numbers(r, n);
	for (size_t i = 0; i < n; i++) {
		bool padding = i % STRIDE >= DIM;
		x[i] = padding ? 0 : x[i] + 10;
		c[i] = padding ? 0 : c[i];
		w[i % STRIDE] = padding ? 0 : w[i % STRIDE];
	}
	norm_arg a = {x, w, bias, c};
	evn_buf *dx = buffer(r, NULL, n), *dw = buffer(r, NULL, STRIDE), *db = buffer(r, NULL, STRIDE);
	ok(evn_op_layernorm_backward(r->b, dx, dw, db, buffer(r, NULL, 2 * TOK), buffer(r, c, n), buffer(r, x, n),
								 buffer(r, w, STRIDE), TOK, STRIDE, DIM, 1e-5f, &err));
	compare_buf(r, "layernorm dx", norm_of_x, &a, x, n, 1, dx);
	compare_buf(r, "layernorm dw", norm_of_w, &a, w, STRIDE, 1, dw);
	compare_buf(r, "layernorm dbias", norm_of_bias, &a, bias, STRIDE, 1, db);
	test_free(x);
	test_free(w);
	test_free(bias);
	test_free(c);
}

/* ---- GELU ------------------------------------------------------------------------------------------------------ */

enum { WIDTH = 48, OUT = 96 };

static double gelu_loss(const void *arg, const double *x)
{
	const float *c = arg;
	double sum = 0;
	for (int t = 0; t < TOK; t++)
		for (int i = 0; i < WIDTH; i++) {
			double v = x[t * STRIDE + i], s = sqrt(2 / acos(-1)) * (v + 0.044715 * v * v * v);
			sum += (double)c[t * OUT + i] * v / 2 * (1 + tanh(s));
		}
	return sum;
}

static void gelu(rig *r)
{
	evn_error err;
	size_t n = (size_t)TOK * STRIDE, n_out = (size_t)TOK * OUT;
	float *x = numbers(r, n), *c = numbers(r, n_out), got[TOK * STRIDE];
	for (size_t i = 0; i < n; i++)
		x[i] *= 5;
	evn_buf *d = buffer(r, NULL, n);
	ok(evn_op_gelu_backward(r->b, d, buffer(r, x, n), STRIDE, buffer(r, c, n_out), OUT, WIDTH, TOK, &err));
	compare_buf(r, "gelu", gelu_loss, c, x, n, 1, d);
	x[0] = -1e4f; /* exponentials overflow, but the slope is still 0 or 1 */
	x[1] = 1e4f;
	ok(evn_op_gelu_backward(r->b, d, buffer(r, x, n), STRIDE, buffer(r, c, n_out), OUT, WIDTH, TOK, &err));
	ok(evn_read(r->q, d, 0, got, sizeof got, &err));
	assert_true(got[0] == 0 && got[1] == c[1]);
	test_free(x);
	test_free(c);
}

/* ---- sums of rows ------------------------------------------------------------------------------------------------
 */

/* The old sums stay, what lies beyond the width is not added, and a sum is in the order of the tokens. */
static void bias(rig *r)
{
	evn_error err;
	float *dy = numbers(r, TOK * STRIDE), *start = numbers(r, STRIDE), got[STRIDE];
	evn_buf *db = buffer(r, start, STRIDE);
	ok(evn_op_bias_gradient(r->b, db, buffer(r, dy, TOK * STRIDE), STRIDE, DIM, TOK, &err));
	ok(evn_read(r->q, db, 0, got, sizeof got, &err));
	for (int i = 0; i < STRIDE; i++) {
		float sum = 0;
		for (int t = 0; t < TOK && i < DIM; t++)
			sum += dy[t * STRIDE + i];
		assert_true(got[i] == start[i] + sum);
	}
	test_free(dy);
	test_free(start);
}

/* Rows 2 .. 5 of a table for sequences of 4: no token uses the last row. */
static void positions(rig *r)
{
	enum { FIRST = 2, ROWS = 3, CTX = 4, TOKENS = 3 * CTX };
	const evn_positions p = {.first = FIRST, .n = ROWS, .n_ctx = CTX, .n_tok = TOKENS, .stride = STRIDE};
	evn_error err;
	float *x = numbers(r, TOKENS * STRIDE), *table = numbers(r, ROWS * STRIDE), *dx = numbers(r, TOKENS * STRIDE);
	float got[TOKENS * STRIDE], back[ROWS * STRIDE];
	evn_buf *bx = buffer(r, x, TOKENS * STRIDE), *rows = buffer(r, table, ROWS * STRIDE);
	ok(evn_op_add_positions(r->b, bx, rows, &p, &err));
	ok(evn_read(r->q, bx, 0, got, sizeof got, &err));
	ok(evn_op_positions_backward(r->b, rows, buffer(r, dx, TOKENS * STRIDE), &p, &err));
	ok(evn_read(r->q, rows, 0, back, sizeof back, &err));
	for (int t = 0; t < TOKENS; t++)
		for (int i = 0; i < STRIDE; i++) {
			int row = t % CTX - FIRST;
			assert_true(got[t * STRIDE + i] == x[t * STRIDE + i] + (row >= 0 ? table[row * STRIDE + i] : 0.0f));
		}
	for (int t = 0; t < TOKENS; t++)
		for (int i = 0; i < STRIDE && t % CTX >= FIRST; i++)
			table[(t % CTX - FIRST) * STRIDE + i] += dx[t * STRIDE + i];
	assert_memory_equal(back, table, sizeof back);
	test_free(x);
	test_free(table);
	test_free(dx);
}

/* ---- dropout -----------------------------------------------------------------------------------------------------
 */

/* Philox2x32-10, first word. The known answer is of Random123 (Salmon et al. 2011), kat_vectors. */
static uint32_t philox(uint32_t low, uint32_t high, uint32_t key)
{
	for (int round = 0; round < 10; round++, key += 0x9E3779B9u) {
		uint64_t product = (uint64_t)low * 0xD256D193u;
		low = (uint32_t)(product >> 32) ^ key ^ high;
		high = (uint32_t)product;
	}
	return low;
}

static void dropout(rig *r)
{
	enum { N = 16 * 1024 };
	const evn_dropout d = {.fraction = 0.25f, .key = (uint64_t)0x85a308d3 << 32 | 0x13198a2e};
	evn_error err;
	float *x = numbers(r, N), *got = test_malloc(N * sizeof *got), *in_place = test_malloc(N * sizeof *in_place);
	evn_buf *from = buffer(r, x, N), *to = buffer(r, NULL, N);
	uint32_t n_dropped = 0;
	assert_int_equal(philox(0x243f6a88, 0x85a308d3, 0x13198a2e), 0xdd7ce038);
	ok(evn_op_dropout(r->ops, to, from, N, &d, 1, &err));
	ok(evn_op_dropout(r->ops, from, from, N, &d, 1, &err));
	ok(evn_read(r->q, to, 0, got, N * sizeof *got, &err));
	ok(evn_read(r->q, from, 0, in_place, N * sizeof *in_place, &err));
	for (uint32_t i = 0; i < N; i++) {
		bool stays = philox(i, (uint32_t)(d.key >> 32), (uint32_t)d.key) >= 1u << 30;
		assert_true(got[i] == (stays ? x[i] * (1 / 0.75f) : 0));
		n_dropped += !stays;
	}
	assert_memory_equal(got, in_place, N * sizeof *got);
	assert_true(abs((int)n_dropped - N / 4) < 222); /* four deviations of a binomial */
	test_free(x);
	test_free(got);
	test_free(in_place);
}

int main(void)
{
	static const rig_test tests[] = {layernorm, gelu, bias, positions, dropout, NULL};
	return rig_main("backward_gpt2", tests, &(evn_attention_config){0});
}
