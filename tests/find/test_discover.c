/* test_discover.c - the drivers of this machine, together with one that crashes and one that is missing. These two
 * are named, and the others still work. A driver that hangs is probed alone, with a shorter limit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/child.h"
#include "find/found.h"

static char root[64];
static evn_system *sys;

static void set_vendors(const char *name)
{
	char folder[128];
	snprintf(folder, sizeof folder, "%s/%s", root, name);
	assert_int_equal(setenv("OCL_ICD_VENDORS", folder, 1), 0);
}

static void add_icd(const char *name, const char *library)
{
	char path[256];
	snprintf(path, sizeof path, "%s/vendors/%s.icd", root, name);
	assert_int_equal(evn_write_file(path, library, strlen(library), NULL), EVN_OK);
}

static const char *problem_of(const char *driver)
{
	for (size_t i = 0; i < evn_system_problem_count(sys); i++)
		if (strstr(evn_system_problem(sys, i).driver, driver))
			return evn_system_problem(sys, i).reason;
	return "";
}

static int set_up(void **state)
{
	(void)state;
	char folder[128], name[32];
	evn_icd *icds;
	size_t n;
	snprintf(root, sizeof root, "/tmp/evener-discover-XXXXXX");
	if (!mkdtemp(root) || evn_icds_list(&icds, &n, NULL) != EVN_OK)
		return -1;
	snprintf(folder, sizeof folder, "%s/vendors", root);
	mkdir(folder, 0700);
	for (size_t i = 0; i < n; i++) {
		snprintf(name, sizeof name, "real%zu", i);
		add_icd(name, icds[i].library);
	}
	evn_icds_free(icds, n);
	add_icd("crash", EVN_BINARY_DIR "/tests/bad_icd_crash.so");
	add_icd("absent", "/nowhere/libabsent.so");
	set_vendors("vendors");
	snprintf(folder, sizeof folder, "%s/cache", root);
	setenv("EVENER_CACHE_DIR", folder, 1);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	char command[128];
	evn_system_close(sys);
	snprintf(command, sizeof command, "rm -rf %s", root);
	return system(command);
}

static void test_a_driver_that_hangs(void **state)
{
	(void)state;
	evn_probed_driver *c = NULL;
	size_t n = 0;
	char *probe = evn_find_probe();
	assert_non_null(probe);
	setenv("OCL_ICD_VENDORS", EVN_BINARY_DIR "/tests/bad_icd_hang.so", 1);
	assert_int_equal(evn_drivers_probe(&c, &n, probe, 3000000000u, NULL), EVN_OK);
	free(probe);
	assert_int_equal(n, 1);
	assert_string_equal(c[0].problem, "gave no answer for 3 s while listing platforms and devices");
	evn_probed_drivers_free(c, n);
	set_vendors("vendors");
}

static void test_bad_drivers_are_survived_and_named(void **state)
{
	(void)state;
	evn_error err = {0};
	if (evn_system_open(&sys, &err) != EVN_OK)
		fail_msg("%s", err.text);
	assert_string_equal(problem_of("crash.icd"), "crashed (SIGSEGV) while listing platforms and devices");
	assert_non_null(strstr(problem_of("absent.icd"), "/nowhere/libabsent.so: cannot open shared object file"));
}

static void test_devices_are_complete(void **state)
{
	(void)state;
	if (!evn_system_count(sys))
		skip();
	for (size_t i = 0; i < evn_system_count(sys); i++) {
		const evn_device_info *d = evn_system_info(sys, i);
		assert_true(d->usable);
		assert_null(d->reason);
		assert_true(d->name[0] && d->platform[0] && d->driver[0] && d->stable_id[0]);
		assert_true(d->compute_units > 0 && d->memory_bytes > 0 && d->max_alloc_bytes > 0);
		assert_true(evn_system_chip(sys, i) <= (int)i);
		assert_int_equal(d->same_chip_as == NULL, i == 0 || evn_system_chip(sys, i) != evn_system_chip(sys, i - 1));
		assert_non_null(evn_system_cl_device(sys, i));
	}
}

static void test_names_lead_back(void **state)
{
	(void)state;
	if (!evn_system_count(sys))
		skip();
	for (size_t i = 0; i < evn_system_count(sys); i++) {
		evn_pick pick;
		const char *names[] = {evn_system_info(sys, i)->id, evn_system_info(sys, i)->stable_id};
		for (size_t k = 0; k < 2; k++) {
			size_t n = 0;
			assert_int_equal(evn_system_select(sys, names[k], 0, &pick, &n, 1, NULL), EVN_OK);
			assert_int_equal(pick.device, i);
		}
	}
}

static void test_opened_again(void **state)
{
	(void)state;
	evn_system *again = NULL;
	assert_int_equal(evn_system_open(&again, NULL), EVN_OK);
	assert_int_equal(evn_system_count(again), evn_system_count(sys));
	assert_int_equal(evn_system_problem_count(again), evn_system_problem_count(sys));
	for (size_t i = 0; i < evn_system_count(sys); i++) {
		assert_string_equal(evn_system_info(again, i)->stable_id, evn_system_info(sys, i)->stable_id);
		assert_int_equal(evn_system_info(again, i)->n_features, evn_system_info(sys, i)->n_features);
	}
	evn_system_close(again);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_driver_that_hangs),  cmocka_unit_test(test_bad_drivers_are_survived_and_named),
		cmocka_unit_test(test_devices_are_complete), cmocka_unit_test(test_names_lead_back),
		cmocka_unit_test(test_opened_again),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
