/* test_chips.c - which devices of several drivers are the same chip, and names that stay the same when other drivers
 * are added or removed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "find/found.h"

static evn_found d[4];

static void add(size_t i, int platform, const char *type, uint32_t vendor, const char *name, const char *pci,
				const char *uuid)
{
	memset(&d[i], 0, sizeof d[i]);
	d[i].platform_index = platform;
	d[i].vendor_id = vendor;
	d[i].info.type = type;
	snprintf(d[i].id, sizeof d[i].id, "%d:%zu", platform, i);
	snprintf(d[i].platform, sizeof d[i].platform, "p%d", platform);
	snprintf(d[i].name, sizeof d[i].name, "%s", name);
	snprintf(d[i].pci, sizeof d[i].pci, "%s", pci);
	snprintf(d[i].uuid, sizeof d[i].uuid, "%s", uuid);
}

static void assert_chips(size_t n, const int *expected)
{
	evn_find_chips(d, n);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(d[i].chip, expected[i]);
}

static void test_cpu_drivers_share_the_host(void **state)
{
	(void)state;
	add(0, 0, "cpu", 0x8086, "Intel(R) Xeon(R)", "", "u1");
	add(1, 1, "cpu", 0x10006, "pthread-epyc", "", "");
	add(2, 2, "gpu", 0x10de, "RTX 3060", "", "");
	assert_chips(3, (int[]){0, 0, 1});
	assert_null(d[0].info.same_chip_as);
	assert_string_equal(d[1].info.same_chip_as, "0:0");
	assert_null(d[2].info.same_chip_as);
}

static void test_gpu_by_address_and_uuid(void **state)
{
	(void)state;
	add(0, 0, "gpu", 0x1002, "gfx1030", "0000:03:00.0", "");
	add(1, 0, "gpu", 0x1002, "gfx1030", "0000:04:00.0", "");
	add(2, 1, "gpu", 0x1002, "Radeon RX 6800 (radeonsi)", "0000:04:00.0", "");
	assert_chips(3, (int[]){0, 1, 1});
	assert_string_equal(d[2].info.same_chip_as, "0:1");
	add(0, 0, "gpu", 0x8086, "One name", "", "u1");
	add(1, 1, "gpu", 0x8086, "Another", "", "u1");
	assert_chips(2, (int[]){0, 0});
}

static void test_gpu_by_name_only_when_single(void **state)
{
	(void)state;
	add(0, 0, "gpu", 0x8086, "Intel(R) UHD Graphics 620 [0x5917]", "0000:00:02.0", "");
	add(1, 1, "gpu", 0x8086, "Mesa Intel(R) UHD Graphics 620 (KBL GT2)", "", "");
	assert_chips(2, (int[]){0, 0});
	add(1, 1, "gpu", 0x8086, "Mesa Intel(R) UHD Graphics 630 (CFL GT2)", "", "");
	assert_chips(2, (int[]){0, 1});
	add(0, 0, "gpu", 0x10de, "RTX 3060", "", "");
	add(1, 0, "gpu", 0x10de, "RTX 3060", "", ""); /* one driver gives two cards the same name: they are two cards */
	add(2, 1, "gpu", 0x10de, "RTX 3060", "", "");
	assert_chips(3, (int[]){0, 1, 2});
}

static void test_stable_ids(void **state)
{
	(void)state;
	add(0, 0, "gpu", 1, "A", "0000:01:00.0", "00000000-0000-0000-0000-000000000001");
	add(1, 1, "gpu", 1, "A", "0000:01:00.0", "");
	add(2, 2, "cpu", 1, "llvmpipe (LLVM 15.0.6, 256 bits)", "", "");
	add(3, 2, "cpu", 1, "llvmpipe (LLVM 15.0.6, 256 bits)", "", "");
	evn_name_stably(d, 4);
	assert_string_equal(d[0].stable_id, "00000000-0000-0000-0000-000000000001");
	assert_string_equal(d[1].stable_id, "p1/A/0"); /* two devices have this address, so it is used for neither */
	assert_string_equal(d[2].stable_id, "p2/llvmpipe-LLVM-15.0.6-256-bits/0");
	assert_string_equal(d[3].stable_id, "p2/llvmpipe-LLVM-15.0.6-256-bits/1");
	evn_name_stably(d, 1);
	d[0].uuid[0] = '\0';
	evn_name_stably(d, 1);
	assert_string_equal(d[0].stable_id, "0000:01:00.0");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cpu_drivers_share_the_host),
		cmocka_unit_test(test_gpu_by_address_and_uuid),
		cmocka_unit_test(test_gpu_by_name_only_when_single),
		cmocka_unit_test(test_stable_ids),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
