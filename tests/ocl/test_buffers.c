/* Buffers that are freed while queued commands still use them: their memory stays until the device is done. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "ocl/ocl.h"

#define BYTES ((uint64_t)64 << 20) /* more than a chunk of pages: each buffer has its own */
#define COPIES 40

static evn_system *sys;

/* The copies take most of a second; the buffers are freed before the first has ended. */
static void freed_buffers_are_used_to_the_end(void **state)
{
	const evn_pick pick = {.device = (size_t)(uintptr_t)*state};
	evn_error err = {0};
	evn_device *d;
	evn_queue *q = NULL;
	evn_buf *from, *to, *kept;
	float last = 0;
	if (evn_devices_open(sys, &pick, 1, &d, &err) != EVN_OK || evn_queue_create(&q, d, &err) != EVN_OK)
		fail_msg("%s", err.text);
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

int main(void)
{
	enum { MOST = 16 };
	static struct CMUnitTest tests[MOST];
	evn_error err = {0};
	size_t n = 0;
	setenv("EVENER_CACHE_DIR", EVN_BINARY_DIR "/tests/cache", 0);
	if (evn_system_open(&sys, &err) != EVN_OK) {
		print_error("%s\n", err.text);
		return 1;
	}
	for (size_t i = 0; i < evn_system_count(sys) && n < MOST; i++)
		if (evn_system_info(sys, i)->usable)
			tests[n++] = (struct CMUnitTest){.name = evn_system_info(sys, i)->platform_name,
											 .test_func = freed_buffers_are_used_to_the_end,
											 .initial_state = (void *)(uintptr_t)i};
	int failed = n ? _cmocka_run_group_tests("buffers", tests, n, NULL, NULL) : 77;
	evn_system_close(sys);
	return failed;
}
