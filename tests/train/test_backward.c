/* test_backward.c - gradients of the training kernels of the Llama family, of attention, the loss, the embedding and
 * the optimizer, on every usable device. */
#include "train/rig.h"

/* ---- rmsnorm --------------------------------------------------------------------------------------------------- */

enum { NORM_TOK = 5, NORM_DIM = 50, NORM_STRIDE = 64 };

typedef struct {
	const float *x, *w, *c;
} norm_arg;

static double norm_loss(const norm_arg *a, const double *x, const double *w)
{
	double sum = 0;
	for (int t = 0; t < NORM_TOK; t++) {
		double squares = 0;
		for (int i = 0; i < NORM_DIM; i++) {
			double v = x ? x[t * NORM_STRIDE + i] : (double)a->x[t * NORM_STRIDE + i];
			squares += v * v;
		}
		for (int i = 0; i < NORM_DIM; i++) {
			double v = x ? x[t * NORM_STRIDE + i] : (double)a->x[t * NORM_STRIDE + i];
			sum += (double)a->c[t * NORM_STRIDE + i] * v / sqrt(squares / NORM_DIM + 1e-5) *
				   (w ? w[i] : (double)a->w[i]);
		}
	}
	return sum;
}

static double norm_of_x(const void *arg, const double *x) { return norm_loss(arg, x, NULL); }
static double norm_of_w(const void *arg, const double *w) { return norm_loss(arg, NULL, w); }

static void rmsnorm(rig *r)
{
	evn_error err;
	size_t n = (size_t)NORM_TOK * NORM_STRIDE;
	float *x = numbers(r, n), *w = numbers(r, NORM_STRIDE), *c = numbers(r, n);
	for (size_t i = 0; i < n; i++)
		if (i % NORM_STRIDE >= NORM_DIM)
			x[i] = c[i] = 0;
	for (int i = NORM_DIM; i < NORM_STRIDE; i++)
		w[i] = 0;
	norm_arg a = {x, w, c};
	evn_buf *dx = buffer(r, NULL, n), *dw = buffer(r, NULL, NORM_STRIDE);
	ok(evn_op_rmsnorm_backward(r->b, dx, dw, buffer(r, NULL, NORM_TOK), buffer(r, c, n), buffer(r, x, n),
							   buffer(r, w, NORM_STRIDE), NORM_TOK, NORM_STRIDE, NORM_DIM, 1e-5f, &err));
	compare_buf(r, "rmsnorm dx", norm_of_x, &a, x, n, 1, dx);
	compare_buf(r, "rmsnorm dw", norm_of_w, &a, w, NORM_STRIDE, 1, dw);
	test_free(x);
	test_free(w);
	test_free(c);
}

/* ---- swiglu ---------------------------------------------------------------------------------------------------- */

enum { GLU_TOK = 3, GLU_WIDTH = 48, GLU_STRIDE = 128, GLU_OUT = 64 };

static double swiglu_loss(const void *arg, const double *gu)
{
	const float *c = arg;
	double sum = 0;
	for (int t = 0; t < GLU_TOK; t++)
		for (int i = 0; i < GLU_WIDTH; i++) {
			double gate = gu[t * GLU_STRIDE + i], up = gu[t * GLU_STRIDE + GLU_WIDTH + i];
			sum += (double)c[t * GLU_OUT + i] * gate / (1 + exp(-gate)) * up;
		}
	return sum;
}

static void swiglu(rig *r)
{
	evn_error err;
	size_t n = (size_t)GLU_TOK * GLU_STRIDE, n_out = (size_t)GLU_TOK * GLU_OUT;
	float *gu = numbers(r, n), *c = numbers(r, n_out);
	for (size_t i = 0; i < n; i++)
		gu[i] *= 4;
	evn_buf *d = buffer(r, NULL, n);
	ok(evn_op_swiglu_backward(r->b, d, buffer(r, gu, n), GLU_STRIDE, GLU_WIDTH, buffer(r, c, n_out), GLU_OUT,
							  GLU_WIDTH, GLU_TOK, &err));
	compare_buf(r, "swiglu", swiglu_loss, c, gu, n, 1, d);
	test_free(gu);
	test_free(c);
}

/* ---- rope and attention: query heads 1..3 of groups of 2, so a KV head is used by part of its group ------------ */

enum {
	CTX = 32,
	SEQUENCES = 2,
	HEADS = 3,
	KVS = 2,
	FIRST_HEAD = 1,
	HEAD = 24,
	ROPE = 16,
	QKV = 192,
	OUT = 96,
	SHIFT = 8
};
#define SCALE 0.3f /* not 1 / sqrt(HEAD): an architecture may have its own */
enum { K_AT = HEADS * HEAD, V_AT = K_AT + KVS * HEAD, TOKENS = CTX * SEQUENCES };

static const evn_sequences layout = {.n_heads = HEADS,
									 .n_kv = KVS,
									 .first_head = FIRST_HEAD,
									 .first_kv = 0,
									 .group = 2,
									 .n_ctx = CTX,
									 .n_sequences = SEQUENCES,
									 .k_offset = K_AT,
									 .v_offset = V_AT,
									 .stride = QKV,
									 .out_stride = OUT,
									 .out_offset = SHIFT,
									 .scale = SCALE};

typedef struct {
	const float *c, *table;
	double *out;
} attention_arg;

static void attend_host(const double *qkv, double *out)
{
	for (int s = 0; s < SEQUENCES; s++)
		for (int h = 0; h < HEADS; h++)
			for (int i = 0; i < CTX; i++) {
				const double *rows = qkv + (size_t)s * CTX * QKV, *q = rows + (size_t)i * QKV + h * HEAD;
				int kv = (FIRST_HEAD + h) / 2;
				double p[CTX], sum = 0, *o = out + ((size_t)s * CTX + (size_t)i) * OUT + SHIFT + h * HEAD;
				for (int j = 0; j <= i; j++) {
					double dot = 0;
					for (int d = 0; d < HEAD; d++)
						dot += q[d] * rows[(size_t)j * QKV + K_AT + (size_t)(kv * HEAD + d)];
					sum += p[j] = exp(dot * (double)SCALE);
				}
				for (int d = 0; d < HEAD; d++) {
					o[d] = 0;
					for (int j = 0; j <= i; j++)
						o[d] += p[j] / sum * rows[(size_t)j * QKV + V_AT + (size_t)(kv * HEAD + d)];
				}
			}
}

static double attention_loss(const void *arg, const double *qkv)
{
	const attention_arg *a = arg;
	double sum = 0;
	attend_host(qkv, a->out);
	for (size_t i = 0; i < (size_t)TOKENS * OUT; i++)
		sum += (double)a->c[i] * a->out[i];
	return sum;
}

static void attention(rig *r)
{
	evn_error err;
	size_t n = (size_t)TOKENS * QKV, n_out = (size_t)TOKENS * OUT;
	float *qkv = numbers(r, n), *c = numbers(r, n_out), *got = test_calloc(n_out, sizeof *got);
	double *exact = test_malloc(n * sizeof *exact);
	for (size_t i = 0; i < n; i++)
		exact[i] = (double)(qkv[i] *= 2);
	attention_arg a = {.c = c, .out = test_calloc(n_out, sizeof(double))};
	evn_buf *x = buffer(r, qkv, n), *out = buffer(r, NULL, n_out), *lse = buffer(r, NULL, TOKENS * HEADS);
	evn_buf *d = buffer(r, NULL, n);
	ok(evn_op_attention_sequences(r->attention, out, lse, x, &layout, &err));
	ok(evn_read(r->q, out, 0, got, n_out * sizeof *got, &err));
	attend_host(exact, a.out);
	for (size_t i = 0; i < n_out; i++) /* 32 keys, 24 products: roundings stay below 1e-5 of values up to 2 */
		assert_true(fabs((double)got[i] - a.out[i]) < 2e-5);
	ok(evn_op_attention_backward(r->b, d, buffer(r, NULL, TOKENS * HEADS), x, out, buffer(r, c, n_out), lse, &layout,
								 &err));
	compare_buf(r, "attention", attention_loss, &a, qkv, n, 7, d);
	test_free(a.out);
	test_free(exact);
	test_free(qkv);
	test_free(c);
	test_free(got);
}

static double rope_loss(const void *arg, const double *qkv)
{
	const attention_arg *a = arg;
	double sum = 0;
	for (int t = 0; t < TOKENS; t++)
		for (int i = 0; i < V_AT; i++) {
			const double *head = qkv + (size_t)t * QKV + i / HEAD * HEAD;
			const float *cosine = a->table + (size_t)(t % CTX) * ROPE + i % HEAD / 2, *sine = cosine + ROPE / 2;
			double y = head[i % HEAD];
			if (i % HEAD < ROPE)
				y = i % 2 ? head[i % HEAD - 1] * (double)*sine + y * (double)*cosine
						  : y * (double)*cosine - head[i % HEAD + 1] * (double)*sine;
			sum += (double)a->c[(size_t)t * QKV + (size_t)i] * y;
		}
	return sum;
}

static void rope(rig *r)
{
	evn_error err;
	size_t n = (size_t)TOKENS * QKV;
	float *qkv = numbers(r, n), *c = numbers(r, n), *table = numbers(r, CTX * ROPE);
	attention_arg a = {.c = c, .table = table};
	evn_buf *angles = buffer(r, table, CTX * ROPE), *d = buffer(r, c, n), *x = buffer(r, qkv, n);
	ok(evn_op_rotate(r->attention, x, &layout, angles, false, &err));
	ok(evn_op_rotate(r->attention, d, &layout, angles, true, &err));
	float *back = test_malloc(n * sizeof *back), *y = test_malloc(n * sizeof *y);
	ok(evn_read(r->q, d, 0, back, n * sizeof *back, &err));
	ok(evn_read(r->q, x, 0, y, n * sizeof *y, &err));
	double loss = 0, *exact = test_malloc(n * sizeof *exact);
	for (size_t i = 0; i < n; i++) {
		exact[i] = (double)qkv[i];
		if (i % QKV < V_AT)
			loss += (double)c[i] * (double)y[i];
		else
			back[i] = 0; /* values are not rotated and are not part of this loss */
	}
	assert_true(fabs(loss - rope_loss(&a, exact)) < 1e-3);
	compare("rope", rope_loss, &a, qkv, n, 5, back);
	test_free(exact);
	test_free(back);
	test_free(y);
	test_free(qkv);
	test_free(c);
	test_free(table);
}

/* ---- loss over three ranks, one of them without rows ----------------------------------------------------------- */

enum { LOSS_TOK = 6, VOCAB = 83, SPARE = 2 };
static const uint32_t cuts[4] = {0, 32, 32, VOCAB};

typedef struct {
	const uint32_t *targets;
	const float *base;
	uint32_t first, n, stride;
} loss_arg;

/* L as a function of one rank's logits. */
static double cross_entropy(const void *arg, const double *logits)
{
	const loss_arg *a = arg;
	double loss = 0;
	for (uint32_t t = 0; t < LOSS_TOK; t++) {
		double sum = 0, at_target = 0;
		for (uint32_t v = 0; v < VOCAB; v++) {
			double l = v - a->first < a->n ? logits[t * a->stride + v - a->first] : (double)a->base[t * VOCAB + v];
			sum += exp(l);
			at_target = v == a->targets[SPARE + t] ? l : at_target;
		}
		loss += log(sum) - at_target;
	}
	return loss;
}

static void loss(rig *r)
{
	evn_error err;
	const uint32_t targets[SPARE + LOSS_TOK] = {0, 0, 31, 32, 82, 5, 0, 60};
	const size_t n_stats = evn_loss_floats(LOSS_TOK, 3);
	float *all = numbers(r, (size_t)LOSS_TOK * VOCAB), *sums = test_calloc(n_stats, sizeof *sums);
	float *part = test_malloc(n_stats * sizeof *part);
	evn_buf *at = buffer(r, targets, SPARE + LOSS_TOK), *stats = buffer(r, NULL, n_stats), *logits[3];
	evn_buf *losses = buffer(r, NULL, SPARE + LOSS_TOK);
	for (size_t i = 0; i < (size_t)LOSS_TOK * VOCAB; i++)
		all[i] *= 20;
	evn_loss l[3];
	float *mine[3];
	for (uint32_t k = 0; k < 3; k++) {
		uint32_t n = cuts[k + 1] - cuts[k], stride = n ? (uint32_t)evn_round_up(n, EVN_PAD) : EVN_PAD;
		l[k] = (evn_loss){cuts[k], n, stride, SPARE, LOSS_TOK, k, 3};
		mine[k] = numbers(r, (size_t)LOSS_TOK * stride);
		for (uint32_t t = 0; t < LOSS_TOK; t++)
			for (uint32_t i = 0; i < n; i++)
				mine[k][t * stride + i] = all[t * VOCAB + cuts[k] + i];
		logits[k] = buffer(r, mine[k], (size_t)LOSS_TOK * stride);
		ok(evn_op_loss_stats(r->b, stats, logits[k], at, &l[k], &err));
		ok(evn_read(r->q, stats, 0, part, n_stats * sizeof *part, &err));
		for (size_t i = 0; i < LOSS_TOK * 9; i++)
			sums[i] += part[i];
	}
	ok(evn_write(r->q, stats, 0, sums, n_stats * sizeof *sums, &err));
	for (uint32_t k = 0; k < 3; k++) {
		loss_arg a = {targets, all, l[k].first, l[k].n, l[k].stride};
		ok(evn_op_loss_gradient(r->b, losses, logits[k], stats, at, &l[k], 1, &err));
		if (l[k].n)
			compare_buf(r, "loss", cross_entropy, &a, mine[k], (size_t)LOSS_TOK * l[k].stride, 1, logits[k]);
		float got[SPARE + LOSS_TOK];
		double total = 0, *none = test_malloc((size_t)LOSS_TOK * l[k].stride * sizeof *none);
		for (size_t i = 0; i < (size_t)LOSS_TOK * l[k].stride; i++)
			none[i] = (double)mine[k][i];
		ok(evn_read(r->q, losses, 0, got, sizeof got, &err));
		for (int t = 0; t < LOSS_TOK; t++)
			total += (double)got[SPARE + t];
		assert_true(fabs(total - cross_entropy(&a, none)) < 1e-4);
		test_free(none);
	}
	for (uint32_t k = 0; k < 3; k++)
		test_free(mine[k]);
	test_free(all);
	test_free(sums);
	test_free(part);
}

/* ---- embedding: exact ------------------------------------------------------------------------------------------ */

static void embedding(rig *r)
{
	enum { ROWS = 7, FIRST = 10, STRIDE = 32, TOK = 6 };
	static const uint32_t ids[TOK] = {12, 9, 16, 12, 17, 10};
	static const uint32_t starts[ROWS + 1] = {0, 1, 1, 3, 3, 3, 3, 4}, order[TOK] = {5, 0, 3, 2};
	evn_error err;
	float *table = numbers(r, ROWS * STRIDE), *dx = numbers(r, TOK * STRIDE), got[TOK * STRIDE];
	float back[ROWS * STRIDE];
	evn_buf *x = buffer(r, NULL, TOK * STRIDE), *d = buffer(r, table, ROWS * STRIDE);
	ok(evn_op_embed(r->b, x, buffer(r, table, ROWS * STRIDE), buffer(r, ids, TOK), FIRST, ROWS, STRIDE, TOK, &err));
	ok(evn_read(r->q, x, 0, got, sizeof got, &err));
	ok(evn_op_embed_backward(r->b, d, buffer(r, dx, TOK * STRIDE), buffer(r, starts, ROWS + 1), buffer(r, order, TOK),
							 ROWS, STRIDE, &err));
	ok(evn_read(r->q, d, 0, back, sizeof back, &err));
	for (uint32_t t = 0; t < TOK; t++)
		for (uint32_t i = 0; i < STRIDE; i++)
			assert_true(got[t * STRIDE + i] == (ids[t] - FIRST < ROWS ? table[(ids[t] - FIRST) * STRIDE + i] : 0.0f));
	for (uint32_t t = 0; t < TOK; t++) /* in token order, as the kernel adds */
		for (uint32_t i = 0; i < STRIDE && ids[t] - FIRST < ROWS; i++)
			table[(ids[t] - FIRST) * STRIDE + i] += dx[t * STRIDE + i];
	assert_memory_equal(back, table, sizeof back);
	test_free(table);
	test_free(dx);
}

/* ---- AdamW: the formula in f64, to f32 roundings --------------------------------------------------------------- */

static void adamw(rig *r)
{
	enum { N = 4096 + 48 };
	const evn_adamw o = {.rate = 0.01f,
						 .beta1 = 0.9f,
						 .beta2 = 0.95f,
						 .eps = 1e-8f,
						 .decay = 0.1f,
						 .unbias1 = 1 / (1 - 0.9f * 0.9f * 0.9f),
						 .unbias2 = 1 / (1 - 0.95f * 0.95f * 0.95f),
						 .gradient_scale = 0.5f};
	evn_error err;
	float *w = numbers(r, N), *m = numbers(r, N), *v = numbers(r, N), *g = numbers(r, N), got[3][N], sums[2];
	for (int i = 0; i < N; i++)
		v[i] = fabsf(v[i]) + 0.01f;
	evn_buf *bw = buffer(r, w, N), *bm = buffer(r, m, N), *bv = buffer(r, v, N), *bg = buffer(r, g, N);
	evn_buf *squares = buffer(r, NULL, 16);
	ok(evn_op_adamw(r->b, bw, bm, bv, bg, N, &o, &err));
	ok(evn_op_sum_squares(r->b, squares, bg, N, &err));
	ok(evn_read(r->q, bw, 0, got[0], sizeof got[0], &err));
	ok(evn_read(r->q, bm, 0, got[1], sizeof got[1], &err));
	ok(evn_read(r->q, bv, 0, got[2], sizeof got[2], &err));
	ok(evn_read(r->q, squares, 0, sums, sizeof sums, &err));
	double total = 0;
	for (int i = 0; i < N; i++) {
		double d = (double)g[i] * 0.5;
		double m1 = 0.9 * (double)m[i] + 0.1 * d, v1 = 0.95 * (double)v[i] + 0.05 * d * d;
		double want = (double)w[i] -
					  0.01 * (m1 * (double)o.unbias1 / (sqrt(v1 * (double)o.unbias2) + 1e-8) + 0.1 * (double)w[i]);
		assert_true(fabs((double)got[1][i] - m1) < 1e-6);
		assert_true(fabs((double)got[2][i] - v1) < 1e-6);
		assert_true(fabs((double)got[0][i] - want) < 2e-6);
		total += (double)g[i] * (double)g[i];
	}
	assert_true(fabs((double)sums[0] + (double)sums[1] - total) < 1e-5 * total);
	test_free(w);
	test_free(m);
	test_free(v);
	test_free(g);
}

/* ---- the comparison itself: a NaN anywhere is no gradient ------------------------------------------------------ */

static double sum_loss(const void *arg, const double *x)
{
	(void)arg;
	return x[0] + 2 * x[1] + 3 * x[2];
}

static void nan_is_seen(rig *r)
{
	const float at[3] = {1, 2, 3};
	(void)r;
	for (size_t i = 0; i <= 3; i++) {
		float got[4] = {1, 2, 3};
		double most;
		got[i] = NAN; /* the last one is not used */
		double worst = distance(sum_loss, NULL, at, 3, 1, got, &most);
		assert_int_equal(worst <= BOUND * most, i == 3);
	}
}

int main(void)
{
	static const rig_test tests[] = {nan_is_seen, rmsnorm, swiglu, rope, attention, loss, embedding, adamw, NULL};
	const evn_attention_config heads = {.head_dim = HEAD, .rope_dim = ROPE};
	return rig_main("backward", tests, &heads);
}
