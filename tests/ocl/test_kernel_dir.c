/* test_kernel_dir.c - cache keys belong to the kernels that are compiled: those of EVENER_KERNEL_DIR if it is set.
 * The variable is read once, so this is a separate program. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ocl/ocl.h"

static char folder[] = "/tmp/evener-kernels-XXXXXX";

static void the_key_follows_the_files(void **state)
{
	char path[64], *text;
	size_t size;
	(void)state;
	snprintf(path, sizeof path, "%s/kernels/common.cl", folder);
	assert_int_equal(evn_read_file(&text, &size, path, 1 << 20, NULL), EVN_OK);
	const uint64_t first = evn_kernels_hash();
	assert_int_equal(evn_write_file(path, text, size - 2, NULL), EVN_OK);
	const uint64_t edited = evn_kernels_hash();
	assert_true(edited != first);
	assert_int_equal(unlink(path), 0);
	assert_true(evn_kernels_hash() != first && evn_kernels_hash() != edited);
	assert_int_equal(evn_write_file(path, text, size, NULL), EVN_OK);
	assert_true(evn_kernels_hash() == first);
	free(text);
}

static int copy_kernels(void **state)
{
	char command[256];
	(void)state;
	if (!mkdtemp(folder))
		return -1;
	snprintf(command, sizeof command, "cp -r " EVN_REPO "/kernels %s", folder);
	if (system(command) != 0)
		return -1;
	snprintf(command, sizeof command, "%s/kernels", folder);
	return setenv("EVENER_KERNEL_DIR", command, 1);
}

static int remove_kernels(void **state)
{
	char command[64];
	(void)state;
	snprintf(command, sizeof command, "rm -r %s", folder);
	return system(command);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(the_key_follows_the_files)};
	return cmocka_run_group_tests(tests, copy_kernels, remove_kernels);
}
