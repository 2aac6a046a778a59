/* test_smoke.c - smoke kernels on the real drivers. They detect a driver whose compiler refuses everything, or whose
 * kernels compute nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "find/found.h"

static evn_system *sys;

static int set_up(void **state)
{
	(void)state;
	setenv("OPENCL_LAYERS", EVN_BINARY_DIR "/tests/fault_layer.so", 1);
	return evn_system_enumerate(&sys, NULL) == EVN_OK ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	evn_system_close(sys);
	return 0;
}

static void count_step(void *user, const char *step)
{
	assert_non_null(strstr(step, " on "));
	++*(size_t *)user;
}

static void try_all(const char *fault, const char *reason)
{
	if (!evn_system_count(sys))
		skip();
	setenv("FAULT", fault, 1);
	for (size_t i = 0; i < evn_system_count(sys); i++) {
		evn_probe_device r = {0};
		size_t steps = 0;
		evn_smoke_test(&sys->devices[i], count_step, &steps, &r);
		assert_string_equal(r.reason, reason);
		assert_string_equal(r.name, evn_system_info(sys, i)->name);
		assert_true(steps >= 3);
		assert_int_equal(r.features & ~r.claimed & ~(unsigned)EVN_FEATURES_UNCLAIMED, 0);
		if (reason[0])
			assert_int_equal(r.features, 0);
	}
}

static void test_a_sound_driver(void **state)
{
	(void)state;
	try_all("", "");
}

static void test_kernels_that_do_not_run(void **state)
{
	(void)state;
	try_all("skip", "the first kernel: wrong results");
}

static void test_a_compiler_that_refuses(void **state)
{
	(void)state;
	try_all("build", "the first kernel: clBuildProgram failed with CL_BUILD_PROGRAM_FAILURE (-11)");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_sound_driver),
		cmocka_unit_test(test_kernels_that_do_not_run),
		cmocka_unit_test(test_a_compiler_that_refuses),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
