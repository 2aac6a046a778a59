/* test_discrete.c - what a device with its own memory needs of src/ocl, on the simulated one (discrete_layer.c). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "find/found.h"
#include "ocl/ocl.h"

#define LAYER EVN_BINARY_DIR "/tests/discrete_layer.so"

static evn_system *sys;
static size_t card;
static evn_device *device;
static evn_queue *queue;

#define ok(call)                                                                                                     \
	do {                                                                                                             \
		evn_error err = {0};                                                                                         \
		if ((call) != EVN_OK)                                                                                        \
			fail_msg("%s: %s", #call, err.text);                                                                     \
	} while (0)

static unsigned long counted(const char *name)
{
	void *layer = dlopen(LAYER, RTLD_NOW | RTLD_NOLOAD);
	assert_non_null(layer);
	const unsigned long n = *(unsigned long *)dlsym(layer, name);
	dlclose(layer);
	return n;
}

static evn_buf *buffer(uint64_t bytes, evn_buf_place place)
{
	evn_buf *b;
	ok(evn_buf_create(&b, device, bytes, place, "test", &err));
	return b;
}

static void test_what_it_says(void **state)
{
	(void)state;
	const evn_device_info *info = evn_system_info(sys, card);
	assert_string_equal(info->type, "gpu");
	assert_false(info->unified_memory);
	assert_int_equal(info->free_bytes, 512 << 20);
	assert_int_equal(info->max_alloc_bytes, 64 << 20);
	assert_int_equal(evn_device_max_alloc(device), 64 << 20);
}

/* Rooms of odd sizes, among them one that is larger than a slot of the ring, and every byte arrives. */
static void test_uploads(void **state)
{
	(void)state;
	const uint64_t bytes = 40 << 20, rooms[] = {3 << 20, 1000, (5 << 20) + 4, 9 << 20};
	evn_buf *b = buffer(bytes, EVN_BUF_DEVICE);
	uint8_t *got = malloc(bytes);
	assert_non_null(got);
	for (int twice = 0; twice < 2; twice++) {
		evn_upload u;
		void *host;
		ok(evn_upload_begin(&u, queue, b, bytes, &err));
		const unsigned long blocking = counted("discrete_blocking");
		uint64_t at = 0;
		for (size_t i = 0; at < bytes; i++) {
			const uint64_t n = rooms[i % 4] < bytes - at ? rooms[i % 4] : bytes - at;
			ok(evn_upload_room(&u, n, &host, &err));
			for (uint64_t k = 0; k < n; k++)
				((uint8_t *)host)[k] = (uint8_t)((at + k) * 2654435761u >> (13 + twice));
			at += n;
		}
		ok(evn_upload_end(&u, EVN_OK, &err));
		assert_int_equal(counted("discrete_blocking"), blocking + (twice ? 0 : 2)); /* two rings were mapped */
		ok(evn_read(queue, b, 0, got, bytes, &err));
		for (uint64_t k = 0; k < bytes; k++)
			if (got[k] != (uint8_t)(k * 2654435761u >> (13 + twice)))
				fail_msg("byte %llu is %u", (unsigned long long)k, got[k]);
	}
	evn_uploads_end(queue);
	free(got);
	evn_buf_free(b);
}

static void test_memory_that_is_missing_is_missed_early(void **state)
{
	(void)state;
	evn_error why = {0};
	setenv("DISCRETE_MEMORY", "3000000", 1);
	evn_buf *small = buffer(2000000, EVN_BUF_DEVICE), *large = buffer(2000000, EVN_BUF_DEVICE);
	ok(evn_buf_touch(queue, small, &err));
	assert_int_equal(evn_buf_touch(queue, large, &why), EVN_ERR_LIMIT);
	assert_non_null(strstr(why.text, "CL_MEM_OBJECT_ALLOCATION_FAILURE (-4) on"));
	assert_non_null(strstr(why.text, ", whose memory is full"));
	unsetenv("DISCRETE_MEMORY");
	ok(evn_buf_touch(queue, large, &err));
	evn_buf_free(small);
	evn_buf_free(large);
}

/* A kernel whose work-items are numbered by flat_id(). */
static evn_args dropout(evn_buf *b)
{
	evn_kernel *k;
	evn_spec spec = evn_spec_of("dropout.cl");
	ok(evn_kernel_get(&k, queue, &spec, "dropout", &err));
	evn_args a = evn_args_begin(k);
	evn_arg_buf(&a, b);
	evn_arg_buf(&a, b);
	evn_arg_u32(&a, 0);
	evn_arg_f32(&a, 1);
	evn_arg_u32(&a, 1);
	evn_arg_u32(&a, 2);
	return a;
}

static void test_a_kernels_own_limit(void **state)
{
	(void)state;
	evn_error why = {0};
	setenv("DISCRETE_GROUP", "64", 1);
	evn_buf *b = buffer(1 << 16, EVN_BUF_DEVICE);
	evn_args a = dropout(b);
	evn_arg_u32(&a, 256);
	assert_int_equal(evn_kernel_max_group(a.kernel), 64);
	assert_int_equal(evn_launch(&a, 1, (size_t[]){2}, (size_t[]){128}, &why), EVN_ERR_UNSUPPORTED);
	assert_non_null(strstr(why.text, "kernel dropout: work-groups of 128 items, "));
	assert_non_null(strstr(why.text, " allows it 64"));
	a = dropout(b);
	ok(evn_launch_items(&a, 256, &err)); /* it chooses smaller ones */
	ok(evn_queue_finish(queue, &err));
	unsetenv("DISCRETE_GROUP");
	evn_buf_free(b);
}

/* The simulation itself. */
static void test_kernels_use_only_the_cards_memory(void **state)
{
	(void)state;
	evn_error why = {0};
	void *host;
	evn_buf *pinned = buffer(1 << 16, EVN_BUF_PINNED), *own = buffer(1 << 16, EVN_BUF_DEVICE);
	const unsigned long errors = counted("discrete_errors");
	evn_args a = dropout(pinned);
	assert_int_equal(evn_launch_items(&a, 16, &why), EVN_ERR_DEVICE);
	ok(evn_map(queue, own, 1 << 16, EVN_MAP_READ, true, &host, &err));
	a = dropout(own);
	assert_int_equal(evn_launch_items(&a, 16, &why), EVN_ERR_DEVICE);
	assert_int_equal(counted("discrete_errors"), errors + 2);
	ok(evn_unmap(queue, own, host, &err));
	a = dropout(own);
	ok(evn_launch_items(&a, 16, &err));
	ok(evn_queue_finish(queue, &err));
	evn_buf_free(pinned);
	evn_buf_free(own);
}

static void test_a_queue_without_times(void **state)
{
	(void)state;
	evn_queue *q;
	evn_event *e;
	evn_buf *b = buffer(4096, EVN_BUF_DEVICE);
	ok(evn_queue_create_untimed(&q, device, &err));
	ok(evn_fill_zero(q, b, &err));
	ok(evn_event_last(&e, q, &err));
	ok(evn_queue_finish(q, &err));
	assert_int_equal(evn_event_end_ns(e), 0);
	evn_event_free(e);
	ok(evn_queue_time_kernels(q, true, &err)); /* switches times on */
	ok(evn_fill_zero(q, b, &err));
	ok(evn_event_last(&e, q, &err));
	ok(evn_queue_finish(q, &err));
	assert_true(evn_event_end_ns(e) > 0);
	evn_event_free(e);
	evn_buf_free(b);
	evn_queue_free(q);
}

int main(void)
{
	evn_error err = {0};
	setenv("POCL_DEVICES", "pthread pthread", 1);
	setenv("OPENCL_LAYERS", LAYER, 1);
	setenv("DISCRETE_DEVICE", "1", 1);
	setenv("DISCRETE_FREE", "536870912", 1);
	setenv("DISCRETE_MAX_ALLOC", "67108864", 1);
	if (evn_system_enumerate(&sys, &err) != EVN_OK)
		return 1;
	while (card < evn_system_count(sys) && strcmp(evn_system_info(sys, card)->type, "gpu") != 0)
		card++;
	if (card == evn_system_count(sys))
		return 77; /* PoCL is not installed */
	if (evn_devices_open(sys, &(evn_pick){.device = card}, 1, &device, &err) != EVN_OK ||
		evn_queue_create(&queue, device, &err) != EVN_OK) {
		fprintf(stderr, "%s\n", err.text);
		return 1;
	}
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_it_says),
		cmocka_unit_test(test_uploads),
		cmocka_unit_test(test_memory_that_is_missing_is_missed_early),
		cmocka_unit_test(test_a_kernels_own_limit),
		cmocka_unit_test(test_kernels_use_only_the_cards_memory),
		cmocka_unit_test(test_a_queue_without_times),
	};
	const int failed = cmocka_run_group_tests(tests, NULL, NULL);
	evn_queue_free(queue);
	evn_device_close(device);
	evn_system_close(sys);
	return failed;
}
