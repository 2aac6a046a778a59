/* test_pocl_usecount.c - launches that grow wider while other ranks of the same device run the kernel. PoCL before
 * 6.0 would abort (ocl/pocl_usecount.c). The results are checked too, because a kernel's first launch must compute
 * nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "ocl/internal.h"

#define RANKS 3
#define ROUNDS 1500
#define STRIDE 32u
#define MOST_ROWS (3 * ROUNDS + 3)
#define PRODUCTS 400u
#define MOST_COLUMNS (16 * PRODUCTS)

static evn_system *sys;

static void ok(evn_status s, const evn_error *err)
{
	if (s != EVN_OK)
		fail_msg("%s", err->text);
}

typedef struct {
	evn_queue *queue;
	evn_buf *x, *y;
	uint32_t rank;
	pthread_barrier_t *together;
	evn_status status;
	evn_error err;
} member;

static evn_status fill(const member *m, evn_buf *b, uint32_t n, float value, evn_error *err)
{
	void *host;
	EVN_TRY(evn_map(m->queue, b, (uint64_t)n * sizeof(float), EVN_MAP_OVERWRITE, true, &host, err));
	for (uint32_t i = 0; i < n; i++)
		((float *)host)[i] = value;
	return evn_unmap(m->queue, b, host, err);
}

static evn_status expect(const member *m, uint32_t n, float value, evn_error *err)
{
	void *host;
	evn_status s = EVN_OK;
	EVN_TRY(evn_map(m->queue, m->y, (uint64_t)n * sizeof(float), EVN_MAP_READ, true, &host, err));
	for (uint32_t i = 0; i < n && s == EVN_OK; i++)
		if (((float *)host)[i] != value)
			s = evn_fail(err, EVN_ERR_DEVICE, "element %u is %g, expected %g", i, (double)((float *)host)[i],
						 (double)value);
	EVN_TRY(evn_unmap(m->queue, m->y, host, err));
	return s;
}

/* The norm of norm_none.cl: a copy. */
static evn_status launch_rows(evn_kernel *k, const member *m, uint32_t n_rows, evn_error *err)
{
	evn_args a = evn_args_begin(k);
	evn_arg_buf(&a, m->x);
	evn_arg_u32(&a, 0);
	for (int i = 0; i < 3; i++) /* weights and bias are not read */
		evn_arg_buf(&a, m->y);
	evn_arg_u32x2(&a, (uint32_t[]){STRIDE, STRIDE});
	evn_arg_f32(&a, 0);
	return evn_launch(&a, 1, (size_t[]){n_rows}, (size_t[]){1}, err);
}

/* y = x, with one work-group for each row. To the driver the ranks' kernels are the same one. */
static evn_status copy_rows(member *m, evn_error *err)
{
	evn_kernel *k;
	uint32_t seed = m->rank;
	evn_spec spec = evn_spec_of("norm_rows.cl");
	evn_spec_part(&spec, "NORM", "norm_none.cl");
	EVN_TRY(evn_kernel_get(&k, m->queue, &spec, "norm_rows", err));
	EVN_TRY(fill(m, m->x, MOST_ROWS * STRIDE, 3, err));
	EVN_TRY(fill(m, m->y, MOST_ROWS * STRIDE, -1, err));
	pthread_barrier_wait(m->together);
	for (uint32_t round = 0; round < ROUNDS; round++) {
		for (int i = 0; i < 4; i++) {
			seed = seed * 1664525u + 1013904223u;
			EVN_TRY(launch_rows(k, m, 3 * round + 1 + (seed >> 16) % 3, err));
		}
		EVN_TRY(round % 8 < 7 ? evn_queue_flush(m->queue, err) : evn_queue_finish(m->queue, err));
	}
	return expect(m, (3 * ROUNDS - 2) * STRIDE, 3, err);
}

/* 16 rows of x times w for more and more columns. Each step makes CLBlast launch wider. */
static evn_status multiply(member *m, evn_error *err)
{
	EVN_TRY(fill(m, m->x, 16 * MOST_COLUMNS, 1, err));
	pthread_barrier_wait(m->together);
	for (uint32_t i = 0; i < PRODUCTS; i++)
		for (uint32_t k = 0; k < 4; k++) {
			uint32_t n = 16 * (i + 1);
			const evn_product p = {.m = 16, .n = n, .k = 16, .lda = 16, .ldb = n, .ldc = n, .alpha = 1};
			EVN_TRY(evn_multiply(m->queue, &p, m->x, m->x, m->y, err));
		}
	return expect(m, 16 * MOST_COLUMNS, 16, err);
}

static void *work(void *arg)
{
	member *m = arg;
	m->status = copy_rows(m, &m->err);
	pthread_barrier_wait(m->together);
	if (m->status == EVN_OK)
		m->status = multiply(m, &m->err);
	return NULL;
}

static void run(const evn_pick *device)
{
	evn_error err;
	evn_device *devices[RANKS];
	evn_pick picks[RANKS] = {*device, *device, *device};
	member members[RANKS] = {0};
	pthread_t threads[RANKS];
	pthread_barrier_t together;
	ok(evn_devices_open(sys, picks, RANKS, devices, &err), &err);
	pthread_barrier_init(&together, NULL, RANKS);
	for (uint32_t i = 0; i < RANKS; i++) {
		member *m = &members[i];
		*m = (member){.rank = i, .together = &together};
		const uint64_t bytes = (uint64_t)MOST_ROWS * STRIDE * sizeof(float);
		ok(evn_queue_create(&m->queue, devices[i], &err), &err);
		ok(evn_buf_create(&m->x, devices[i], bytes, EVN_BUF_DEVICE, "x", &err), &err);
		ok(evn_buf_create(&m->y, devices[i], bytes, EVN_BUF_DEVICE, "y", &err), &err);
		assert_int_equal(pthread_create(&threads[i], NULL, work, m), 0);
	}
	for (uint32_t i = 0; i < RANKS; i++)
		pthread_join(threads[i], NULL);
	for (uint32_t i = 0; i < RANKS; i++) {
		ok(members[i].status, &members[i].err);
		evn_buf_free(members[i].x);
		evn_buf_free(members[i].y);
		evn_queue_free(members[i].queue);
		evn_device_close(devices[i]);
	}
	pthread_barrier_destroy(&together);
}

static void test_ranks_of_one_device(void **state)
{
	(void)state;
	evn_pick devices[EVN_MAX_RANKS];
	size_t n = 0;
	evn_error err;
	if (evn_system_select(sys, "pocl", 0, devices, &n, EVN_MAX_RANKS, &err) != EVN_OK)
		skip();
	run(&devices[0]);
}

/* ---- the sources ----------------------------------------------------------------------------------------------- */

static void test_sources(void **state)
{
	(void)state;
	char *text = evn_usecount_source(
		"// kernel of\n#define X\n\nkernel IN __attribute__((a(1)))\nvoid f(global int *x)\n{\n\tx[0] = 1;\n}\n"
		"INLINE void g(void) { }\nkernel void h(int y) { if (y) { } }\n");
	assert_string_equal(
		text,
		"// kernel of\n#define X\n\nkernel IN __attribute__((a(1)))\nvoid f(global int *x)\n{" EVN_USECOUNT_RETURN
		"\n\tx[0] = 1;\n}\n"
		"INLINE void g(void) { }\nkernel void h(int y) {" EVN_USECOUNT_RETURN " if (y) { } }\n");
	assert_int_equal(evn_usecount_guards(text), 2);
	free(text);
	text = evn_usecount_source("INLINE void g(void) { }\n/* not at the beginning */ kernel void h(void) { }\n");
	assert_int_equal(evn_usecount_guards(text), 0);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_sources), cmocka_unit_test(test_ranks_of_one_device)};
	evn_error err;
	if (evn_system_open(&sys, &err) != EVN_OK)
		return 1;
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	evn_system_close(sys);
	return failed;
}
