/* test_memory_limits.c - what control groups leave of the host's memory, in made folders of /proc and /sys. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static char root[] = "/tmp/evener-test-memory-XXXXXX";

/* Makes the folders of the path, too. */
static void put(const char *path, const char *text)
{
	char whole[512];
	snprintf(whole, sizeof whole, "%s%s", root, path);
	for (char *p = whole + strlen(root) + 1; (p = strchr(p, '/')); *p++ = '/') {
		*p = 0;
		mkdir(whole, 0700);
	}
	FILE *f = fopen(whole, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void clear(void)
{
	char command[128];
	snprintf(command, sizeof command, "rm -rf %s", root);
	assert_int_equal(system(command), 0);
	assert_int_equal(mkdir(root, 0700), 0);
}

static int make_root(void **state)
{
	(void)state;
	return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **state)
{
	(void)state;
	clear();
	return remove(root);
}

static void test_no_groups(void **state)
{
	(void)state;
	clear();
	assert_true(evn_free_memory(root) == UINT64_MAX);
	put("/proc/meminfo", "MemTotal:  9000 kB\nMemFree:  10 kB\nMemAvailable:    5000 kB\n");
	assert_int_equal(evn_free_memory(root), 5000 * 1024);
	put("/proc/self/cgroup", "garbage\n0::\n5:cpu:/a\n");
	assert_int_equal(evn_free_memory(root), 5000 * 1024);
}

static void test_second_version(void **state)
{
	(void)state;
	clear();
	put("/proc/meminfo", "MemAvailable:    5000 kB\n");
	put("/proc/self/cgroup", "0::/user.slice/a.service\n");
	put("/sys/fs/cgroup/user.slice/a.service/memory.max", "max\n");
	put("/sys/fs/cgroup/user.slice/a.service/memory.current", "700000\n");
	assert_int_equal(evn_free_memory(root), 5000 * 1024);
	put("/sys/fs/cgroup/user.slice/a.service/memory.max", "1000000\n");
	assert_int_equal(evn_free_memory(root), 300000);
	put("/sys/fs/cgroup/user.slice/a.service/memory.stat", "anon 5\ninactive_file 200000\n");
	assert_int_equal(evn_free_memory(root), 500000);
	put("/sys/fs/cgroup/user.slice/memory.max", "2000000\n"); /* the group above leaves less */
	put("/sys/fs/cgroup/user.slice/memory.current", "1900000\n");
	assert_int_equal(evn_free_memory(root), 100000);
	put("/sys/fs/cgroup/user.slice/memory.current", "2100000\n");
	assert_int_equal(evn_free_memory(root), 0);
}

/* The folder of all groups is that of the container, whose path is not seen. */
static void test_in_a_container(void **state)
{
	(void)state;
	clear();
	put("/proc/meminfo", "MemAvailable:    5000 kB\n");
	put("/proc/self/cgroup", "0::/\n");
	put("/sys/fs/cgroup/memory.max", "1000000\n");
	put("/sys/fs/cgroup/memory.current", "400000\n");
	assert_int_equal(evn_free_memory(root), 600000);
	put("/proc/self/cgroup", "0::/docker/0123\n");
	assert_int_equal(evn_free_memory(root), 600000);
}

static void test_first_version(void **state)
{
	(void)state;
	clear();
	put("/proc/meminfo", "MemAvailable:    5000 kB\n");
	put("/proc/self/cgroup", "9:cpu:/docker/1\n4:memory:/docker/1\n0::/\n");
	put("/sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes", "9223372036854771712\n");
	put("/sys/fs/cgroup/memory/docker/1/memory.usage_in_bytes", "800000\n");
	assert_int_equal(evn_free_memory(root), 5000 * 1024);
	put("/sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes", "1000000\n");
	put("/sys/fs/cgroup/memory/docker/1/memory.stat", "inactive_file 1\ntotal_inactive_file 100000\n");
	assert_int_equal(evn_free_memory(root), 300000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_groups),
		cmocka_unit_test(test_second_version),
		cmocka_unit_test(test_in_a_container),
		cmocka_unit_test(test_first_version),
	};
	return cmocka_run_group_tests(tests, make_root, remove_root);
}
