/* selftest_top.c - known answers for the kernel that finds the largest logits: sorted in f64 on the host. */
#include "nn/top.h"
#include "proof/selftest_case.h"

#include <math.h>
#include <stdlib.h>

typedef struct {
	uint32_t width, n_rows, n_top, first_id;
	float scale;
} top_shape;

typedef struct {
	double logit;
	uint32_t id;
	bool bad; /* not a number, or infinite: before all others */
} token;

static int preferred_first(const void *a, const void *b)
{
	const token *x = a, *y = b;
	if (x->bad != y->bad)
		return x->bad ? -1 : 1;
	if (!x->bad && x->logit != y->logit)
		return x->logit > y->logit ? -1 : 1;
	return x->id < y->id ? -1 : x->id > y->id;
}

/* Many equal logits, both zeros, -infinity and, in the last row, logits that are none. */
static void make_logits(const top_shape *s, evn_case_array *x, uint32_t stride)
{
	for (uint64_t i = 0; i < x->n; i++) {
		float *v = &x->values[i];
		*v = i % 3 == 0 ? 20 * *v : i % 7 == 0 ? -0.0f : i % 5 == 0 ? 0.0f : floorf(8 * *v) / 4;
		if (i % 11 == 0)
			*v = -INFINITY;
	}
	float *last = x->values + (uint64_t)(s->n_rows - 1) * stride;
	if (s->n_rows > 1) {
		last[s->width / 2] = NAN;
		last[s->width / 3] = INFINITY;
		last[s->width - 1] = -NAN;
	}
}

static void compare_slice(evn_cases *c, const top_shape *s, const uint64_t *got, token *tokens, uint32_t n)
{
	qsort(tokens, n, sizeof *tokens, preferred_first);
	for (uint32_t i = 0; i < s->n_top; i++) {
		const bool bad = i < n && tokens[i].bad;
		const double id = i < n ? tokens[i].id : UINT32_MAX, logit = i < n ? tokens[i].logit : 0;
		evn_case_compare(c, "id", i, (double)(uint32_t)got[i], id, 0, 1);
		if (i < n && !bad && isfinite(logit))
			evn_case_compare(c, "logit", i, (double)evn_key_logit(evn_top_key(got[i])), logit, 0, 1);
		else
			evn_case_compare(c, "key", i, evn_top_key(got[i]),
							 bad     ? 0
							 : i < n ? (double)evn_logit_key(-INFINITY)
									 : UINT32_MAX,
							 0, 1);
	}
}

static evn_status check_lists(evn_cases *c, const top_shape *s, const evn_case_array *x, uint32_t stride,
							  const uint64_t *got, evn_error *err)
{
	void *memory;
	EVN_TRY(evn_case_memory(c, &memory, EVN_TOP_SLICE * sizeof(token), err));
	token *tokens = memory;
	for (uint32_t row = 0; row < s->n_rows; row++)
		for (uint32_t begin = 0; begin < s->width; begin += EVN_TOP_SLICE, got += s->n_top) {
			const uint32_t n = s->width - begin < EVN_TOP_SLICE ? s->width - begin : EVN_TOP_SLICE;
			for (uint32_t i = 0; i < n; i++) {
				const float logit = x->values[(uint64_t)row * stride + begin + i] * s->scale;
				tokens[i] = (token){(double)logit, s->first_id + begin + i, !(logit < INFINITY)};
			}
			compare_slice(c, s, got, tokens, n);
		}
	return EVN_OK;
}

static evn_status run(evn_cases *c, evn_ops *ops, const top_shape *s, evn_error *err)
{
	const uint32_t stride = (uint32_t)evn_round_up(s->width, EVN_PAD);
	const evn_top_row row = {s->width, s->first_id, s->scale};
	const uint64_t n = (uint64_t)s->n_rows * evn_top_slices(s->width) * s->n_top;
	evn_case_array x, to;
	void *got;
	EVN_TRY(evn_case_array_make(c, &x, (uint64_t)s->n_rows * stride, err));
	make_logits(s, &x, stride);
	EVN_TRY(evn_case_upload(c, &x, err));
	EVN_TRY(evn_case_input(c, &to, 2 * n, err));
	EVN_TRY(evn_op_top(ops, to.buf, s->n_top, x.buf, stride, &row, s->n_rows, err));
	EVN_TRY(evn_case_memory(c, &got, n * sizeof(uint64_t), err));
	EVN_TRY(evn_read(c->q, to.buf, 0, got, n * sizeof(uint64_t), err));
	return check_lists(c, s, &x, stride, got, err);
}

static evn_status top_case(evn_cases *c, const void *shape, evn_error *err)
{
	const evn_ops_config config = {0};
	evn_ops *ops;
	evn_status st = evn_ops_create(&ops, c->q, &config, err);
	if (st == EVN_OK)
		st = run(c, ops, shape, err);
	evn_ops_free(ops);
	return st;
}

void evn_selftest_top(evn_cases *c)
{
	static const top_shape shapes[] = {{1, 1, 1, 0, 1},        {1023, 2, 1, 5, 1},         {1024, 1, 64, 70000, 1},
									   {1025, 3, 41, 0, 0.7f}, {3000, 2, 64, 1u << 20, 1}, {40, 1, 64, 3, 1}};
	if (evn_device_local_bytes(evn_queue_device(c->q)) < EVN_TOP_SLICE * sizeof(uint64_t))
		return;
	for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
		evn_case_run(c, &(evn_case){top_case, &shapes[i], "top", NULL}, "%u of %u x%u", shapes[i].n_top,
					 shapes[i].width, shapes[i].n_rows);
}
