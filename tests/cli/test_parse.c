/* test_parse.c - values as users write them: which are accepted, and that all others are refused with one message. */
#include "cli/config/parse.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void test_int(void **state)
{
	(void)state;
	static const char *const bad[] = {"",
									  " 1",
									  "1 ",
									  "1.5",
									  "0x10",
									  "0o17",
									  "1e3",
									  "-",
									  "+",
									  "--1",
									  "nan",
									  "101",
									  "-101",
									  "99999999999999999999",
									  "-99999999999999999999",
									  "1,2"};
	int64_t v = 0;
	evn_error err;
	assert_int_equal(parse_int("42", -100, 100, &v, &err), EVN_OK);
	assert_int_equal(v, 42);
	assert_int_equal(parse_int("-100", -100, 100, &v, &err), EVN_OK);
	assert_int_equal(v, -100);
	assert_int_equal(parse_int("017", -100, 100, &v, &err), EVN_OK);
	assert_int_equal(v, 17); /* decimal, not octal */
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		assert_int_equal(parse_int(bad[i], -100, 100, &v, &err), EVN_ERR_USAGE);
		assert_non_null(strstr(err.text, bad[i]));
		assert_non_null(strstr(err.text, "from -100 to 100"));
	}
	assert_int_equal(v, 17);
}

static void test_real(void **state)
{
	(void)state;
	static const char *const bad[] = {"",      " 1",    "1 ",   "0.5x", "nan", "NaN",  "inf", ".inf", "-inf",
									  "1e999", "0x1p1", "1..2", "e",    "1e",  "-0.1", "2.1", "1,0",  "no"};
	double v = 0;
	evn_error err;
	assert_int_equal(parse_real("0.95", 0, 2, &v, &err), EVN_OK);
	assert_true(fabs(v - 0.95) < 1e-12);
	assert_int_equal(parse_real("1e-1", 0, 2, &v, &err), EVN_OK);
	assert_int_equal(parse_real(".5", 0, 2, &v, &err), EVN_OK);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_int_equal(parse_real(bad[i], 0, 2, &v, &err), EVN_ERR_USAGE);
	assert_true(v == 0.5);
}

static void test_bool_and_choice(void **state)
{
	(void)state;
	static const char *const names[] = {"auto", "host", NULL};
	bool b = false;
	int choice = -1;
	evn_error err;
	assert_int_equal(parse_bool("true", &b, &err), EVN_OK);
	assert_true(b);
	assert_int_equal(parse_bool("yes", &b, &err), EVN_ERR_USAGE);
	assert_int_equal(parse_bool("", &b, &err), EVN_ERR_USAGE);
	assert_int_equal(parse_choice("host", names, &choice, &err), EVN_OK);
	assert_int_equal(choice, 1);
	assert_int_equal(parse_choice("flags", names, &choice, &err), EVN_ERR_USAGE);
	assert_non_null(strstr(err.text, "auto, host"));
	assert_int_equal(parse_choice("1", names, &choice, &err), EVN_ERR_USAGE);
}

static void test_memory(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		uint64_t bytes;
		double fraction;
	} good[] = {{"90%", 0, 0.9},
				{"100%", 0, 1.0},
				{"0.5 %", 0, 0.005},
				{"6GiB", 6ull << 30, 0},
				{"1.5 GiB", 3ull << 29, 0},
				{"500MB", 500000000, 0},
				{"1B", 1, 0},
				{"2KiB", 2048, 0},
				{"3kB", 3000, 0}};
	static const char *const bad[] = {"",     "6",    "GiB",  "-6GiB", "6 GiBs", "6gib",           "0%",     "100.1%",
									  "0MiB", "nan%", "1e3B", "..GiB", "6GiB ",  "99999999999TiB", "1.2.3GB"};
	memory_limit m;
	evn_error err;
	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		assert_int_equal(parse_memory(good[i].text, &m, &err), EVN_OK);
		assert_true(m.bytes == good[i].bytes);
		assert_true(fabs(m.fraction - good[i].fraction) < 1e-12);
	}
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_int_equal(parse_memory(bad[i], &m, &err), EVN_ERR_USAGE);
	memory_list list;
	assert_int_equal(parse_memory_list("90%, 6GiB", &list, &err), EVN_OK);
	assert_int_equal(list.n, 2);
	assert_true(list.values[1].bytes == 6ull << 30);
	assert_int_equal(parse_memory_list("1B,1B,1B,1B,1B,1B,1B,1B,1B", &list, &err), EVN_ERR_USAGE);
}

static void test_shares(void **state)
{
	(void)state;
	static const char *const bad[] = {"",     "0",     "0,0", "1,",   ",1",  "1,,1",
									  "-1,2", "1,nan", "1;1", "auto", "1 1", "1,1,1,1,1,1,1,1,1"};
	share_list list;
	double share, prompts;
	evn_error err;
	assert_int_equal(parse_shares("3, 1,0", &list, &err), EVN_OK);
	assert_int_equal(list.n, 3);
	assert_true(list.values[0] == 3 && list.values[1] == 1 && list.values[2] == 0);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_int_equal(parse_shares(bad[i], &list, &err), EVN_ERR_USAGE);
	assert_int_equal(parse_share("auto", &share, &prompts, &err), EVN_OK);
	assert_true(share == EVN_SHARE_AUTO);
	assert_int_equal(parse_share("0", &share, &prompts, &err), EVN_OK);
	assert_true(share == 0 && prompts == EVN_SHARE_AUTO);
	assert_int_equal(parse_share("3/0", &share, &prompts, &err), EVN_OK);
	assert_true(share == 3 && prompts == 0);
	assert_int_equal(parse_share("auto/30", &share, &prompts, &err), EVN_OK);
	assert_true(share == EVN_SHARE_AUTO && prompts == 30);
	assert_int_equal(parse_share("3/", &share, &prompts, &err), EVN_ERR_USAGE);
	assert_int_equal(parse_share("3/4/5", &share, &prompts, &err), EVN_ERR_USAGE);
	assert_int_equal(parse_shares("3/30,1", &list, &err), EVN_OK);
	assert_true(list.n == 2 && list.prompts[0] == 30 && list.values[1] == 1 && list.prompts[1] == EVN_SHARE_AUTO);
	assert_int_equal(parse_shares("3/0,1/0", &list, &err), EVN_ERR_USAGE);
	assert_int_equal(parse_share("-1", &share, &prompts, &err),
					 EVN_ERR_USAGE); /* the number of EVN_SHARE_AUTO is not a valid input */
}

static void test_ids(void **state)
{
	(void)state;
	static const char *const bad[] = {"", "1,", ",", "1,-1", "2147483648", "1 2", "a"};
	int32_t *ids = NULL;
	size_t n = 0;
	evn_error err;
	assert_int_equal(parse_ids("0, 1,2147483647", &ids, &n, &err), EVN_OK);
	assert_int_equal(n, 3);
	assert_int_equal(ids[2], 2147483647);
	free(ids);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_int_equal(parse_ids(bad[i], &ids, &n, &err), EVN_ERR_USAGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_int),    cmocka_unit_test(test_real),   cmocka_unit_test(test_bool_and_choice),
		cmocka_unit_test(test_memory), cmocka_unit_test(test_shares), cmocka_unit_test(test_ids),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
