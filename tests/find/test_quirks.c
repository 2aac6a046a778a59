/* test_quirks.c - each line of the table of quirks: a driver that has the fault, and ones that do not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "find/found.h"

static evn_found device(const char *platform, const char *driver, const char *type)
{
	evn_found f = {0};
	snprintf(f.platform, sizeof f.platform, "%s", platform);
	snprintf(f.driver, sizeof f.driver, "%s", driver);
	f.info.type = type;
	return f;
}

static void test_intel_cpu(void **state)
{
	(void)state;
	const evn_found cpu = device("intel", "2026.21.0", "cpu"), gpu = device("intel", "25.40", "gpu");
	assert_true(evn_quirk_no_own_cores(&cpu));
	assert_non_null(strstr(evn_quirk_sub_devices(&cpu), "DPCPP_CPU_NUM_CUS"));
	assert_false(evn_quirk_no_own_cores(&gpu)); /* it may be divided */
	assert_null(evn_quirk_sub_devices(&gpu));
	assert_false(evn_quirk_slow_binaries(&cpu));
}

static void test_pocl_versions(void **state)
{
	(void)state;
	static const struct {
		const char *driver;
		bool slow_binaries, loses_count;
	} versions[] = {{"3.1+debian", true, true},
					{"4.0", false, true},
					{"5.0-pre", false, true},
					{"6.0", false, false},
					{"10.1", false, false}};
	for (size_t i = 0; i < sizeof versions / sizeof *versions; i++) {
		const evn_found f = device("pocl", versions[i].driver, "cpu"),
						gpu = device("pocl", versions[i].driver, "gpu");
		assert_int_equal(evn_quirk_slow_binaries(&f), versions[i].slow_binaries);
		assert_int_equal(evn_quirk_loses_count(&f), versions[i].loses_count);
		assert_non_null(strstr(evn_quirk_sub_devices(&f), "POCL_MAX_PTHREAD_COUNT"));
		assert_false(evn_quirk_no_own_cores(&f));
		assert_false(evn_quirk_loses_count(&gpu));
	}
}

static void test_others(void **state)
{
	(void)state;
	const evn_found other = device("rusticl", "22.3.6", "cpu"), alike = device("pocl2", "3.1", "cpu");
	for (int i = 0; i < 2; i++) {
		const evn_found *f = i ? &alike : &other;
		assert_null(evn_quirk_sub_devices(f));
		assert_false(evn_quirk_no_own_cores(f) || evn_quirk_slow_binaries(f) || evn_quirk_loses_count(f));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_intel_cpu),
		cmocka_unit_test(test_pocl_versions),
		cmocka_unit_test(test_others),
	};
	return cmocka_run_group_tests_name("quirks", tests, NULL, NULL);
}
