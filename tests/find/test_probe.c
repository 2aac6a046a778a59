/* test_probe.c - probing invented drivers. Shell scripts play the probe program, so that every kind of failure
 * occurs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "find/found.h"

#define SECOND 1000000000u

static char root[64], vendors[96];

static void write_text(const char *path, const char *text, mode_t mode)
{
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(chmod(path, mode), 0);
}

/* Relative names are in the test's own folder. */
static const char *at(const char *name)
{
	static char path[4][256];
	static unsigned next;
	char *p = path[next++ % 4];
	snprintf(p, sizeof path[0], "%s/%s", root, name);
	return p;
}

static int set_up(void **state)
{
	(void)state;
	snprintf(root, sizeof root, "/tmp/evener-probe-XXXXXX");
	if (!mkdtemp(root))
		return -1;
	snprintf(vendors, sizeof vendors, "%s/vendors", root);
	mkdir(vendors, 0700);
	write_text(at("libfine.so"), "not loaded by a script", 0600);
	setenv("EVENER_CACHE_DIR", at("cache"), 1);
	setenv("OCL_ICD_VENDORS", vendors, 1);
	setenv("ROOT", root, 1);
	unsetenv("OPENCL_VENDOR_PATH");
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	char command[128];
	snprintf(command, sizeof command, "rm -rf %s", root);
	return system(command);
}

static size_t open_files(void)
{
	DIR *d = opendir("/proc/self/fd");
	size_t n = 0;
	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n;
}

static evn_probed_driver *probe(size_t *n, const char *script, uint64_t limit_ns)
{
	evn_probed_driver *drivers = NULL;
	evn_error err = {0};
	write_text(at("probe"), script, 0700);
	if (evn_drivers_probe(&drivers, n, at("probe"), limit_ns, &err) != EVN_OK)
		fail_msg("%s", err.text);
	return drivers;
}

static void assert_problem(const char *script, uint64_t limit_ns, const char *problem)
{
	size_t n, files = open_files();
	setenv("OCL_ICD_VENDORS", vendors, 1);
	evn_probed_driver *c = probe(&n, script, limit_ns);
	assert_int_equal(n, 1);
	assert_string_equal(c[0].problem, problem);
	assert_false(c[0].probed);
	assert_string_not_equal(getenv("OCL_ICD_VENDORS"), vendors);
	evn_probed_drivers_free(c, n);
	assert_int_equal(open_files(), files);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no child left */
	assert_int_equal(errno, ECHILD);
}

static void test_every_way_to_fail(void **state)
{
	(void)state;
	write_text(at("vendors/one.icd"), "libone.so\n", 0600);
	assert_problem("#!/bin/sh\nprintf 'step\\tbuilding the first kernel on 0:0 X\\n'\nkill -SEGV $$\n", 20u * SECOND,
				   "crashed (SIGSEGV) while building the first kernel on 0:0 X");
	assert_problem("#!/bin/sh\nkill -ABRT $$\n", 20u * SECOND, "crashed (SIGABRT) while starting");
	assert_problem("#!/bin/sh\nprintf 'step\\tlisting\\n'\nsleep 60\n", SECOND,
				   "gave no answer for 1 s while listing");
	assert_problem("#!/bin/sh\nprintf 'step\\tlisting\\n'\nexec >&-\nsleep 60\n", SECOND,
				   "gave no answer for 1 s while listing");
	assert_problem("#!/bin/sh\nprintf 'step\\tlisting\\nstep\\tcut'\nexit 3\n", 20u * SECOND,
				   "ended (exit status 3) while listing");
	assert_problem("#!/bin/sh\nprintf 'problem\\tdoes not load: %s\\ndone\\n' $2\n", 20u * SECOND,
				   "does not load: libone.so");
	setenv("OPENCL_LAYERS", "liblayer.so", 1); /* a fault that a layer adds is not the driver's */
	assert_problem("#!/bin/sh\nprintf 'problem\\tsees layers: %s\\ndone\\n' ${OPENCL_LAYERS-none}\n", 20u * SECOND,
				   "sees layers: none");
	unsetenv("OPENCL_LAYERS");
	assert_problem("#!/bin/sh\nprintf 'step\\ttalking\\n'\nyes | head -c 1000000\nexit 1\n", 20u * SECOND,
				   "ended (exit status 1) while talking");
}

/* The time limit is shared: three drivers that hang take no longer than one. */
static void test_all_at_once(void **state)
{
	(void)state;
	size_t n;
	write_text(at("vendors/one.icd"), "libone.so\n", 0600);
	write_text(at("vendors/two.icd"), "libtwo.so\n", 0600);
	write_text(at("vendors/fine.icd"), at("libfine.so"), 0600);
	uint64_t start = evn_now_ns();
	evn_probed_driver *c =
		probe(&n, "#!/bin/sh\ncase $2 in */libfine.so) echo done;; *) sleep 60;; esac\n", 2u * SECOND);
	assert_true(evn_now_ns() - start < 4u * SECOND);
	assert_int_equal(n, 3);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(c[i].probed, strstr(c[i].icd.path, "fine") != NULL);
	evn_probed_drivers_free(c, n);
	evn_icd *left;
	assert_int_equal(evn_icds_list(&left, &n, NULL), EVN_OK);
	assert_int_equal(n, 1); /* what the loader of this process will see */
	assert_string_equal(left[0].library, at("libfine.so"));
	evn_icds_free(left, n);
}

static const char good[] = "#!/bin/sh\necho run >> $ROOT/runs\n"
						   "printf 'library\\t%s\\t%s\\t%s\\n' $2 $(stat -c %s $2) $(stat -c %.9Y $2 | tr -d .)\n"
						   "printf 'device\\tPlatform\\tName\\t1.0\\t7\\t3\\t%s\\n' \"$REASON\"\necho done\n";

static size_t runs(void)
{
	char *text = NULL;
	size_t size = 0;
	if (evn_read_file(&text, &size, at("runs"), 4096, NULL) != EVN_OK)
		return 0;
	free(text);
	return size / strlen("run\n");
}

static void probe_good(size_t expected_runs)
{
	size_t n;
	evn_probed_driver *drivers = NULL;
	assert_int_equal(evn_drivers_probe(&drivers, &n, at("probe"), 20u * SECOND, NULL), EVN_OK);
	assert_int_equal(n, 1);
	assert_true(drivers[0].probed);
	assert_int_equal(drivers[0].report.n_devices, 1);
	assert_int_equal(drivers[0].report.devices[0].features, 3);
	assert_string_equal(getenv("OCL_ICD_VENDORS"), vendors); /* stays as it was */
	evn_probed_drivers_free(drivers, n);
	assert_int_equal(runs(), expected_runs);
}

static void test_good_verdicts_are_remembered(void **state)
{
	(void)state;
	write_text(at("vendors/fine.icd"), at("libfine.so"), 0600);
	write_text(at("probe"), good, 0700);
	setenv("REASON", "", 1);
	probe_good(1);
	probe_good(1);
	setenv("POCL_TEST", "1", 1);
	probe_good(2);
	probe_good(2);
	unsetenv("POCL_TEST");
	probe_good(2);
	write_text(at("libfine.so"), "a newer version", 0600);
	probe_good(3);
	probe_good(3);
	write_text(at("vendors/fine.icd"), at("./libfine.so"), 0600);
	probe_good(4);
}

static void test_failed_devices_are_asked_again(void **state)
{
	(void)state;
	write_text(at("vendors/fine.icd"), at("libfine.so"), 0600);
	write_text(at("probe"), good, 0700);
	setenv("REASON", "the first kernel: wrong results", 1);
	probe_good(1);
	probe_good(2);
}

/* The rules of ocl-icd, case by case. */
static void assert_listed(const char *value, const char *path, const char *library)
{
	evn_icd *icds;
	size_t n;
	setenv("OCL_ICD_VENDORS", value, 1);
	assert_int_equal(evn_icds_list(&icds, &n, NULL), EVN_OK);
	assert_int_equal(n, path ? 1 : 0);
	if (path) {
		assert_string_equal(icds[0].path, path);
		assert_string_equal(icds[0].library, library);
	}
	evn_icds_free(icds, n);
}

static void test_which_files_the_loader_reads(void **state)
{
	(void)state;
	write_text(at("vendors/one.icd"), "libone.so\r\nsecond line", 0600);
	write_text(at("vendors/empty.icd"), "", 0600);
	write_text(at("vendors/other.txt"), "libother.so", 0600);
	assert_listed(vendors, at("vendors/one.icd"), "libone.so");
	assert_listed(at("vendors/one.icd"), at("vendors/one.icd"), "libone.so");
	assert_listed("libthree.so", "libthree.so", "libthree.so");
	assert_listed(at("vendors/empty.icd"), NULL, NULL);
	assert_listed(at("vendors/absent.icd"), NULL, NULL);
	setenv("OPENCL_VENDOR_PATH", vendors, 1);
	assert_listed("", at("vendors/one.icd"), "libone.so");
	assert_listed("one.icd", at("vendors/one.icd"), "libone.so");
	assert_listed(at("none"), at("none"), at("none")); /* a library that is missing: the loader tries it too */
}

static void test_hostile_reports(void **state)
{
	(void)state;
	evn_probe_report r;
	char *text = calloc(1, 300000);
	assert_non_null(text);
	size_t end = 0;
	for (int i = 0; i < 2000; i++)
		end += (size_t)sprintf(text + end, "device\tPlatform\tName %d\t1\t0\t0\t\n", i);
	strcpy(text + end, "done"); /* no end of line: the report was cut off */
	evn_probe_report_parse(&r, text);
	assert_int_equal(r.n_devices, EVN_PROBE_DEVICES);
	assert_false(r.complete);
	memset(text, 'x', 200000);
	memcpy(text, "step\t", 5);
	strcpy(text + 200000, "\ndevice\nplatform\nlibrary\ndone\n");
	evn_probe_report_parse(&r, text);
	assert_true(r.complete);
	assert_int_equal(strlen(r.step), sizeof r.step - 1);
	assert_string_equal(r.devices[0].name, "");
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_every_way_to_fail, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_all_at_once, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_good_verdicts_are_remembered, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_failed_devices_are_asked_again, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_which_files_the_loader_reads, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_hostile_reports, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
