/* tune_trial.c - one set of GEMM parameters on one device, in the helper program: it may crash or hang here. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/tune.h"
#include "probe/probe.h"

#define WINDOW_NS 300000000u /* timed so long, but at least MIN_PASSES passes */
#define MIN_PASSES 3
#define MAX_SHAPES 8
#define MOST_SIDE 65536u
#define SAMPLES 97 /* entries of y that are proved, spread over it */

typedef struct {
	evn_gemm_shape shape;
	evn_buf *x, *w, *y;
} product;

typedef struct {
	evn_queue *queue;
	uint32_t n;
	product products[MAX_SHAPES];
} trial;

/* Exact in few bits, so that x and w need no memory of their own: entry i of either. */
static float entry(uint64_t i, uint32_t period) { return (float)((int)(i % period) - (int)period / 2) / 16; }

enum { X_PERIOD = 61, W_PERIOD = 53 };

static evn_status fill_buffer(trial *t, evn_buf **out, uint64_t count, uint32_t period, const char *what,
							  evn_error *err)
{
	void *host;
	uint64_t bytes = count * sizeof(float);
	EVN_TRY(evn_buf_create(out, evn_queue_device(t->queue), bytes, EVN_BUF_DEVICE, what, err));
	EVN_TRY(evn_map(t->queue, *out, bytes, EVN_MAP_OVERWRITE, true, &host, err));
	for (uint64_t i = 0; i < count; i++)
		((float *)host)[i] = entry(i, period);
	return evn_unmap(t->queue, *out, host, err);
}

static evn_status make_product(trial *t, const char *text, evn_error *err)
{
	product *p = &t->products[t->n++];
	evn_gemm_shape *s = &p->shape;
	if (sscanf(text, "%ux%ux%u", &s->n_tok, &s->rows, &s->columns) != 3 || !s->n_tok || !s->rows || !s->columns ||
		s->n_tok > MOST_SIDE || s->rows > MOST_SIDE || s->columns > MOST_SIDE)
		return evn_fail(err, EVN_ERR_USAGE, "%s: not a shape", text);
	EVN_TRY(fill_buffer(t, &p->x, (uint64_t)s->n_tok * s->columns, X_PERIOD, "input", err));
	EVN_TRY(fill_buffer(t, &p->w, (uint64_t)s->columns * s->rows, W_PERIOD, "weights", err));
	return fill_buffer(t, &p->y, (uint64_t)s->n_tok * s->rows, X_PERIOD, "output", err);
}

static evn_status pass(trial *t, evn_error *err)
{
	for (uint32_t i = 0; i < t->n; i++) {
		product *p = &t->products[i];
		const evn_gemm_shape *s = &p->shape;
		const evn_product gemm = {.m = s->n_tok,
								  .n = s->rows,
								  .k = s->columns,
								  .lda = s->columns,
								  .ldb = s->rows,
								  .ldc = s->rows,
								  .alpha = 1};
		EVN_TRY(evn_multiply(t->queue, &gemm, p->x, p->w, p->y, err));
	}
	return evn_queue_finish(t->queue, err);
}

/* Any order of summation errs at most (k + 1) eps sum |x w|, to first order. */
static evn_status prove_product(const product *p, const float *y, evn_error *err)
{
	const evn_gemm_shape *s = &p->shape;
	uint64_t n = (uint64_t)s->n_tok * s->rows;
	for (uint64_t i = 0; i < SAMPLES; i++) {
		uint64_t at = i * (n - 1) / (SAMPLES - 1), row = at / s->rows, column = at % s->rows;
		double sum = 0, magnitude = 0;
		for (uint64_t k = 0; k < s->columns; k++) {
			double term = (double)entry(row * s->columns + k, X_PERIOD) * entry(k * s->rows + column, W_PERIOD);
			sum += term;
			magnitude += fabs(term);
		}
		if (!(fabs(y[at] - sum) <= (s->columns + 1) * (double)FLT_EPSILON * magnitude))
			return evn_fail(err, EVN_ERR_DEVICE, "wrong result: %g where %g is right", (double)y[at], sum);
	}
	return EVN_OK;
}

static evn_status prove_all(trial *t, evn_error *err)
{
	for (uint32_t i = 0; i < t->n; i++) {
		product *p = &t->products[i];
		uint64_t bytes = (uint64_t)p->shape.n_tok * p->shape.rows * sizeof(float);
		void *host;
		EVN_TRY(evn_map(t->queue, p->y, bytes, EVN_MAP_READ, true, &host, err));
		evn_status s = prove_product(p, host, err);
		evn_status unmapped = evn_unmap(t->queue, p->y, host, s == EVN_OK ? err : NULL);
		if (s != EVN_OK || unmapped != EVN_OK)
			return s != EVN_OK ? s : unmapped;
	}
	return evn_queue_finish(t->queue, err);
}

/* The fastest pass counts: whatever else the machine does can only slow one. */
static evn_status time_products(trial *t, double *gflops, evn_error *err)
{
	double flops = 0;
	uint64_t fastest = UINT64_MAX, began = evn_now_ns();
	for (uint32_t i = 0; i < t->n; i++) {
		const evn_gemm_shape *s = &t->products[i].shape;
		flops += 2.0 * s->n_tok * s->rows * s->columns;
	}
	for (uint32_t n = 0; n < MIN_PASSES || evn_now_ns() - began < WINDOW_NS; n++) {
		uint64_t from = evn_now_ns();
		EVN_TRY(pass(t, err));
		uint64_t ns = evn_now_ns() - from;
		fastest = ns < fastest ? ns : fastest;
	}
	*gflops = flops / (double)fastest;
	return EVN_OK;
}

static evn_status run_trial(trial *t, evn_device *d, const char *parameters, const char *const *shapes, uint32_t n,
							double *gflops, evn_error *err)
{
	evn_gemm_params params;
	bool own = !strcmp(parameters, "-");
	if (!own && !evn_gemm_params_parse(&params, parameters))
		return evn_fail(err, EVN_ERR_USAGE, "not a set of GEMM parameters: %s", parameters);
	if (n == 0 || n > MAX_SHAPES)
		return evn_fail(err, EVN_ERR_USAGE, "%u shapes, 1 to %d are possible", n, MAX_SHAPES);
	EVN_TRY(evn_queue_create(&t->queue, d, err));
	EVN_TRY(evn_gemm_use(d, own ? NULL : &params, err));
	for (uint32_t i = 0; i < n; i++)
		EVN_TRY(make_product(t, shapes[i], err));
	EVN_TRY(pass(t, err)); /* builds the kernels */
	EVN_TRY(prove_all(t, err));
	return time_products(t, gflops, err);
}

static void trial_free(trial *t)
{
	for (uint32_t i = 0; i < t->n; i++) {
		evn_buf_free(t->products[i].x);
		evn_buf_free(t->products[i].w);
		evn_buf_free(t->products[i].y);
	}
	evn_queue_free(t->queue);
}

evn_status evn_tune_trial_run(int fd, const char *device, const char *parameters, const char *const *shapes,
							  uint32_t n_shapes, evn_error *err)
{
	evn_system *system = NULL;
	evn_device *d = NULL;
	evn_pick pick;
	trial t = {0};
	size_t n = 0;
	double gflops = 0;
	evn_status s = evn_system_open(&system, err);
	if (s == EVN_OK)
		s = evn_system_select(system, device, 0, &pick, &n, 1, err);
	if (s == EVN_OK)
		s = evn_devices_open(system, &pick, 1, &d, err);
	if (s == EVN_OK)
		s = run_trial(&t, d, parameters, shapes, n_shapes, &gflops, err);
	if (s == EVN_OK)
		dprintf(fd, "gflops\t%.6g\n", gflops);
	else if (err)
		dprintf(fd, "fault\t%s\n", err->text);
	trial_free(&t);
	evn_device_close(d);
	evn_system_close(system);
	return s;
}
