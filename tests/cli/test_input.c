/* test_input.c - files of objects: which lines are pieces, in which order they are computed, and which files are
 * refused, with the line. */
#include "cli/batch/input.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static char path[] = "/tmp/evener-input-XXXXXX.jsonl";

static evn_status read_lines(batch_input *in, const char *lines, evn_error *err)
{
	const settings s = {.prompt_file = path};
	FILE *f = fopen(path, "wb");
	assert_non_null(f);
	fputs(lines, f);
	fclose(f);
	return input_read(in, &s, NULL, err);
}

static void test_pieces(void **state)
{
	(void)state;
	batch_input in;
	evn_error err = {0};
	assert_int_equal(read_lines(&in, "\n{\"a\": 1}\r\n \t\r\n  {\"a\": \"x\\ny\"}  \n{}", &err), EVN_OK);
	assert_int_equal(in.n, 3);
	static const size_t lines[] = {2, 4, 5};
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(input_line(&in, i), lines[i]);
	json_t *fields = input_fields(&in, 1);
	assert_string_equal(json_string_value(json_object_get(fields, "a")), "x\ny");
	json_decref(fields);
	input_free(&in);
}

static void test_order(void **state)
{
	(void)state;
	static const size_t order[] = {4, 1, 0, 3, 5, 2};
	batch_input in;
	evn_error err = {0};
	assert_int_equal(read_lines(&in,
								"{}\n{\"priority\": -1}\n{\"priority\": 99999999999}\n{\"priority\": 0}\n"
								"{\"priority\": -99999999999}\n{\"priority\": \"high\"}\n",
								&err),
					 EVN_OK);
	assert_memory_equal(in.order, order, sizeof order);
	input_free(&in);
}

static void refuses(const char *lines, const char *expected)
{
	batch_input in;
	evn_error err = {0};
	char wanted[256];
	assert_int_equal(read_lines(&in, lines, &err), EVN_ERR_USAGE);
	snprintf(wanted, sizeof wanted, "%s%s", path, expected);
	if (strncmp(err.text, wanted, strlen(wanted)) != 0)
		fail_msg("got '%s', expected '%s'", err.text, wanted);
	assert_null(strchr(err.text, '\n'));
	input_free(&in);
}

static void test_refused(void **state)
{
	(void)state;
	refuses("", ": has no object");
	refuses("\n \n", ": has no object");
	refuses("{}\n\nnonsense\n", ":3:");
	refuses("{\"a\": 1\n\"b\": 2}\n", ":1:");
	refuses("{\"a\": 1, \"a\": 2}\n", ":1:");
	refuses("{} {}\n", ":1:");
	refuses("{}\n[1]\n", ":2:1: expected an object");
	refuses("{\"a\": \"\xff\"}\n", ":1:");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_refused),
	};
	int fd = mkstemps(path, 6);
	if (fd < 0)
		return 1;
	close(fd);
	int failed = cmocka_run_group_tests_name("input", tests, NULL, NULL);
	unlink(path);
	return failed;
}
