/* test_buffers.c - freed buffers: their memory stays while queued commands use it, and goes back to the system
 * afterwards. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "ocl/ocl.h"

#define BYTES ((uint64_t)64 << 20) /* more than a chunk of pages: each buffer has its own */
#define COPIES 40

static evn_system *sys;

static void open_device(size_t device, evn_device **d, evn_queue **q)
{
	const evn_pick pick = {.device = device};
	evn_error err = {0};
	if (evn_devices_open(sys, &pick, 1, d, &err) != EVN_OK || evn_queue_create(q, *d, &err) != EVN_OK)
		fail_msg("%s", err.text);
}

/* The copies take most of a second; the buffers are freed before the first has ended. */
static void freed_buffers_are_used_to_the_end(void **state)
{
	evn_error err = {0};
	evn_device *d;
	evn_queue *q = NULL;
	evn_buf *from, *to, *kept;
	float last = 0;
	open_device((size_t)(uintptr_t)*state, &d, &q);
	assert_int_equal(evn_buf_create(&from, d, BYTES, EVN_BUF_DEVICE, "from", &err), EVN_OK);
	assert_int_equal(evn_buf_create(&to, d, BYTES, EVN_BUF_DEVICE, "to", &err), EVN_OK);
	assert_int_equal(evn_buf_create(&kept, d, sizeof last, EVN_BUF_DEVICE, "kept", &err), EVN_OK);
	assert_int_equal(evn_write(q, from, BYTES - sizeof last, &(float){7}, sizeof last, &err), EVN_OK);
	assert_true(evn_device_held_bytes(d) >= 2 * BYTES);
	for (int i = 0; i < COPIES; i++)
		assert_int_equal(evn_copy(q, i % 2 ? from : to, 0, i % 2 ? to : from, 0, BYTES, &err), EVN_OK);
	assert_int_equal(evn_copy(q, kept, 0, to, BYTES - sizeof last, sizeof last, &err), EVN_OK);
	assert_int_equal(evn_queue_flush(q, &err), EVN_OK);
	evn_buf_free(from);
	evn_buf_free(to);
	assert_int_equal(evn_device_held_bytes(d), sizeof last);
	assert_int_equal(evn_read(q, kept, 0, &last, sizeof last, &err), EVN_OK);
	assert_true(last == 7);
	evn_buf_free(kept);
	evn_queue_free(q);
	evn_device_close(d);
}

static uint64_t resident_bytes(void)
{
	unsigned long long all, resident = 0;
	FILE *f = fopen("/proc/self/statm", "re");
	assert_non_null(f);
	assert_int_equal(fscanf(f, "%llu %llu", &all, &resident), 2);
	fclose(f);
	return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static evn_buf *filled(evn_queue *q, uint64_t bytes)
{
	evn_error err = {0};
	evn_buf *b;
	assert_int_equal(evn_buf_create(&b, evn_queue_device(q), bytes, EVN_BUF_DEVICE, "filled", &err), EVN_OK);
	assert_int_equal(evn_fill_zero(q, b, &err), EVN_OK);
	assert_int_equal(evn_queue_finish(q, &err), EVN_OK);
	return b;
}

/* Short-lived buffers between ones that stay. The first of all is for what a driver needs to fill any. */
static void freed_buffers_give_their_memory_back(void **state)
{
	enum { N = 12 };
	const uint64_t bytes = (uint64_t)16 << 20;
	evn_device *d;
	evn_queue *q = NULL;
	evn_buf *large[N], *small[N];
	open_device((size_t)(uintptr_t)*state, &d, &q);
	evn_buf_free(filled(q, bytes));
	const uint64_t before = resident_bytes();
	for (int i = 0; i < N; i++) {
		large[i] = filled(q, bytes);
		small[i] = filled(q, 4096);
	}
	for (int i = 0; i < N; i++)
		evn_buf_free(large[i]);
	for (int i = 0; i < 500 && resident_bytes() > before + N * bytes / 2; i++)
		nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL); /* a driver may destroy buffers later */
	assert_true(resident_bytes() < before + N * bytes / 2);
	for (int i = 0; i < N; i++)
		evn_buf_free(small[i]);
	evn_queue_free(q);
	evn_device_close(d);
}

int main(void)
{
	enum { MOST = 32 };
	static struct CMUnitTest tests[MOST];
	evn_error err = {0};
	size_t n = 0;
	setenv("EVENER_CACHE_DIR", EVN_BINARY_DIR "/tests/cache", 0);
	if (evn_system_open(&sys, &err) != EVN_OK) {
		print_error("%s\n", err.text);
		return 1;
	}
	for (size_t i = 0; i < evn_system_count(sys) && n + 2 <= MOST; i++) {
		if (!evn_system_info(sys, i)->usable)
			continue;
		struct CMUnitTest test = {.name = evn_system_info(sys, i)->platform_name,
								  .test_func = freed_buffers_are_used_to_the_end,
								  .initial_state = (void *)(uintptr_t)i};
		tests[n++] = test;
		test.test_func = freed_buffers_give_their_memory_back;
		tests[n++] = test;
	}
	int failed = n ? _cmocka_run_group_tests("buffers", tests, n, NULL, NULL) : 77;
	evn_system_close(sys);
	return failed;
}
