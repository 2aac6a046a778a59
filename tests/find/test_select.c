/* test_select.c - device lists on an invented machine. Resolving a name needs no driver. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "find/found.h"

#define MAX 8

static evn_found devices[5];
static evn_system machine = {.n = 5, .devices = devices};
static evn_pick picks[MAX];
static size_t n;
static evn_error err;

static void add(size_t i, const char *id, const char *stable, const char *platform, const char *name,
				const char *type, uint32_t units, uint32_t max_parts)
{
	devices[i].info = (evn_device_info){.id = id,
										.stable_id = stable,
										.platform = platform,
										.name = name,
										.type = type,
										.compute_units = units,
										.usable = true};
	devices[i].max_parts = max_parts;
}

static int set_up(void **state)
{
	(void)state;
	memset(devices, 0, sizeof devices);
	add(0, "0:0", "8680a1b2-0000-0000-0000-000000000001", "intel", "Arc A770", "gpu", 32, 0);
	add(1, "0:1", "intel/broken/0", "intel", "Broken GPU", "gpu", 8, 0);
	add(2, "1:0", "0000:01:00.0", "nvidia", "GeForce RTX 3060", "gpu", 28, 0);
	add(3, "2:0", "pocl/pthread-epyc/0", "pocl", "pthread-epyc", "cpu", 4, 4);
	add(4, "3:0", "intel/Xeon/0", "intel-cpu", "Intel Xeon", "cpu", 2, 2);
	devices[1].info.usable = false;
	devices[1].info.reason = "its driver has no compiler";
	n = 0;
	err = (evn_error){0};
	return 0;
}

static evn_status ask(const char *item) { return evn_system_select(&machine, item, 7, picks, &n, MAX, &err); }

static void assert_picks(const char *item, const char *expected)
{
	char all[256] = "", name[32];
	n = 0;
	err = (evn_error){0};
	if (ask(item) != EVN_OK)
		fail_msg("%s: %s", item, err.text);
	for (size_t i = 0; i < n; i++) {
		evn_pick_name(&machine, &picks[i], name, sizeof name);
		strcat(strcat(all, i ? " " : ""), name);
		assert_int_equal(picks[i].rule, 7);
	}
	assert_string_equal(all, expected);
}

static void assert_refused(const char *item, evn_status status, const char *part)
{
	n = 1;
	err = (evn_error){0};
	assert_int_equal(ask(item), status);
	if (!strstr(err.text, part))
		fail_msg("%s: \"%s\" does not say \"%s\"", item, err.text, part);
	assert_int_equal(n, 1); /* nothing was appended in part */
}

static void test_every_kind_of_selector(void **state)
{
	(void)state;
	assert_picks("all", "0:0 1:0 2:0 3:0");
	assert_picks("gpu", "0:0 1:0");
	assert_picks("CPU", "2:0 3:0");
	assert_picks("1:0", "1:0");
	assert_picks("0000:01:00.0", "1:0");
	assert_picks("8680A1B2-0000-0000-0000-000000000001", "0:0");
	assert_picks("pocl/pthread-epyc/0", "2:0"); /* ends like a list of parts, but is none */
	assert_picks("Intel", "0:0");               /* the name of a platform wins over a part of a device's name */
	assert_picks("xeon", "3:0");
	assert_picks("  rtx 3060 ", "1:0");
}

static void test_parts(void **state)
{
	(void)state;
	assert_picks("pocl/1+3", "2:0/1@0 2:0/3@1");
	assert_picks("2:0/1", "2:0/1@0");
	assert_picks("pocl/pthread-epyc/0/2+1+1", "2:0/2@0 2:0/1@2 2:0/1@3");
	assert_picks("2:0/1@3", "2:0/1@3"); /* as evn_pick_name names it */
	assert_picks("pocl/1+2@1", "2:0/1@1 2:0/2@2");
	assert_picks("cpu/1+1", "2:0/1@0 2:0/1@1 3:0/1@0 3:0/1@1");
}

static void test_items_add_up(void **state)
{
	(void)state;
	assert_int_equal(ask("pocl"), EVN_OK);
	assert_int_equal(ask("pocl"), EVN_OK); /* the same item twice: two ranks */
	assert_int_equal(n, 2);
	assert_int_equal(picks[0].device, picks[1].device);
	assert_refused("pocl/9", EVN_ERR_USAGE, "has 4 compute units, 9 asks for 9");
	n = MAX - 1;
	assert_int_equal(ask("cpu"), EVN_ERR_LIMIT);
	assert_int_equal(n, MAX - 1);
}

static void test_refusals(void **state)
{
	(void)state;
	assert_refused("", EVN_ERR_USAGE, "names no device");
	assert_refused("/1", EVN_ERR_USAGE, "names no device");
	assert_refused("accelerator", EVN_ERR_USAGE,
				   "there are: 0:0 Arc A770 (gpu, intel), 0:1 Broken GPU (gpu, intel, not");
	assert_refused("4:0", EVN_ERR_USAGE, "matches no device");
	assert_refused("0:1", EVN_ERR_USAGE, "not usable: its driver has no compiler");
	assert_refused("intel/broken/0", EVN_ERR_USAGE, "not usable: its driver has no compiler");
	assert_refused("broken", EVN_ERR_USAGE, "not usable: its driver has no compiler");
	assert_refused("pocl/", EVN_ERR_USAGE, "counts of compute units");
	assert_refused("pocl/1+", EVN_ERR_USAGE, "counts of compute units");
	assert_refused("pocl/1+x", EVN_ERR_USAGE, "counts of compute units");
	assert_refused("pocl/-1", EVN_ERR_USAGE, "counts of compute units");
	assert_refused("pocl/1@", EVN_ERR_USAGE, "the first unit");
	assert_refused("pocl/1@x", EVN_ERR_USAGE, "the first unit");
	assert_refused("pocl/@1", EVN_ERR_USAGE, "counts of compute units");
	assert_refused("pocl/1@1+1", EVN_ERR_USAGE, "counts of compute units");
	assert_refused("pocl/1@4", EVN_ERR_USAGE, "has 4 compute units, 1@4 asks for 5");
	assert_refused("pocl/1@99999999999999999999999", EVN_ERR_USAGE, "has 4 compute units");
	assert_refused("pocl/0", EVN_ERR_USAGE, "at least one compute unit");
	assert_refused("pocl/2+3", EVN_ERR_USAGE, "has 4 compute units, 2+3 asks for 5");
	assert_refused("pocl/99999999999999999999999", EVN_ERR_USAGE, "has 4 compute units");
	assert_refused("pocl/4294967295+4294967295", EVN_ERR_USAGE, "has 4 compute units");
	assert_refused("pocl/1+1+1+1+1+1+1+1+1", EVN_ERR_LIMIT, "more than 8 parts");
	assert_refused("1:0/1", EVN_ERR_UNSUPPORTED, "cannot be divided");
}

static void test_long_items(void **state)
{
	(void)state;
	char item[2000];
	memset(item, 'x', sizeof item - 1);
	item[sizeof item - 1] = '\0';
	assert_refused(item, EVN_ERR_USAGE, "characters");
	evn_system none = {0};
	assert_int_equal(evn_system_select(&none, "all", 0, picks, &n, MAX, &err), EVN_ERR_USAGE);
	assert_non_null(strstr(err.text, "none at all"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_every_kind_of_selector, set_up),
		cmocka_unit_test_setup(test_parts, set_up),
		cmocka_unit_test_setup(test_items_add_up, set_up),
		cmocka_unit_test_setup(test_refusals, set_up),
		cmocka_unit_test_setup(test_long_items, set_up),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
