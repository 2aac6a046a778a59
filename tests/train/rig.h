/* rig.h - shared by the tests of the training kernels: a device with its kernels, deterministic numbers, and
 * comparison of gradients with central differences of plain f64 forward functions on the host. A loss L = sum of c_i
 * y_i with random c turns any output into one number. The bound is 1e-3 of the largest gradient; f32 sums of these
 * sizes stay below 1e-5. */
#ifndef EVN_TEST_RIG_H
#define EVN_TEST_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nn/ops.h"
#include "train/backward.h"
#include "worst.h"

#define BOUND 1e-3
#define MAX_BUFS 16

static evn_system *sys;

typedef struct {
	evn_device *device;
	evn_queue *q;
	evn_ops *ops;
	evn_attention_ops *attention;
	evn_backward *b;
	evn_buf *bufs[MAX_BUFS];
	uint32_t n_bufs;
	uint64_t random;
} rig;

#define ok(call) check(call, &err, #call)
static inline void check(evn_status s, const evn_error *err, const char *call)
{
	if (s != EVN_OK)
		fail_msg("%s: %s", call, err->text);
}

static inline double number(rig *r) /* [-1, 1) */
{
	r->random = r->random * 6364136223846793005u + 1442695040888963407u;
	return (double)(r->random >> 40) * 0x1p-23 - 1;
}

static inline float *numbers(rig *r, size_t n)
{
	float *v = test_malloc(n * sizeof *v);
	for (size_t i = 0; i < n; i++)
		v[i] = (float)number(r);
	return v;
}

static inline evn_buf *buffer(rig *r, const void *data, size_t n)
{
	evn_error err;
	evn_buf *b;
	assert_true(r->n_bufs < MAX_BUFS);
	ok(evn_buf_create(&b, r->device, n * 4, EVN_BUF_DEVICE, "test", &err));
	if (data)
		ok(evn_write(r->q, b, 0, data, n * 4, &err));
	else
		ok(evn_fill_zero(r->q, b, &err));
	return r->bufs[r->n_bufs++] = b;
}

static inline void release(rig *r)
{
	while (r->n_bufs)
		evn_buf_free(r->bufs[--r->n_bufs]);
}

/* L at the values in x (n). arg has everything else that it depends on. */
typedef double (*loss_fn)(const void *arg, const double *x);

/* Returns the largest distance of got[i] from the central difference for each index i with i % every == 0. *most is
 * the largest central difference. */
static inline double distance(loss_fn f, const void *arg, const float *at, size_t n, size_t every, const float *got,
							  double *most)
{
	double *x = test_malloc(n * sizeof *x), worst = 0;
	*most = 0;
	for (size_t i = 0; i < n; i++)
		x[i] = (double)at[i];
	for (size_t i = 0; i < n; i += every) {
		const double h = 1e-5, keep = x[i];
		x[i] = keep + h;
		double up = f(arg, x);
		x[i] = keep - h;
		double slope = (up - f(arg, x)) / (2 * h);
		x[i] = keep;
		*most = worse(*most, fabs(slope));
		worst = worse(worst, fabs(slope - (double)got[i]));
	}
	test_free(x);
	return worst;
}

static inline void compare(const char *what, loss_fn f, const void *arg, const float *at, size_t n, size_t every,
						   const float *got)
{
	double most, worst = distance(f, arg, at, n, every, got, &most);
	if (!(worst <= BOUND * most) || most == 0)
		fail_msg("%s: off by %g of %g", what, worst, most);
}

static inline void compare_buf(rig *r, const char *what, loss_fn f, const void *arg, const float *at, size_t n,
							   size_t every, const evn_buf *grad)
{
	evn_error err;
	float *got = test_malloc(n * sizeof *got);
	ok(evn_read(r->q, grad, 0, got, n * sizeof *got, &err));
	compare(what, f, arg, at, n, every, got);
	test_free(got);
}

typedef void (*rig_test)(rig *r);
static const rig_test *rig_tests; /* ends with a NULL name */
static evn_attention_config rig_heads;

static inline void rig_run(void **state)
{
	const evn_pick pick = {.device = (size_t)(uintptr_t)*state};
	evn_error err;
	rig r = {.random = 1};
	ok(evn_devices_open(sys, &pick, 1, &r.device, &err));
	ok(evn_queue_create(&r.q, r.device, &err));
	ok(evn_ops_create(&r.ops, r.q, &(evn_ops_config){0}, &err));
	ok(evn_attention_ops_create(&r.attention, r.q, &rig_heads, &err));
	ok(evn_backward_create(&r.b, r.q, &rig_heads, &err));
	for (const rig_test *t = rig_tests; *t; t++) {
		(*t)(&r);
		release(&r);
	}
	evn_backward_free(r.b);
	evn_attention_ops_free(r.attention);
	evn_ops_free(r.ops);
	evn_queue_free(r.q);
	evn_device_close(r.device);
}

/* Runs the tests on every usable device. */
static inline int rig_main(const char *name, const rig_test *all, const evn_attention_config *heads)
{
	enum { MOST = 16 };
	static struct CMUnitTest tests[MOST];
	evn_error err;
	size_t n = 0;
	rig_tests = all;
	rig_heads = *heads;
	if (evn_system_open(&sys, &err) != EVN_OK) {
		printf("skipped: %s\n", err.text);
		return 77;
	}
	for (size_t i = 0; i < evn_system_count(sys) && n < MOST; i++)
		if (evn_system_info(sys, i)->usable)
			tests[n++] = (struct CMUnitTest){.name = evn_system_info(sys, i)->platform_name,
											 .test_func = rig_run,
											 .initial_state = (void *)(uintptr_t)i};
	int failed = n ? _cmocka_run_group_tests(name, tests, n, NULL, NULL) : 77;
	evn_system_close(sys);
	return failed;
}

#endif
