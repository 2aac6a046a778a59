/* Tests of reading requests: JSON bodies, the table of fields, and what is said of a wrong value. */
#include "serve/fields.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

typedef struct {
	bool flag, twice;
	int64_t whole;
	double real;
	const char *text;
	json_t *any;
	int n_read;
} target;

static bool read_twice(void *to, const char *name, json_t *v, problem *p)
{
	((target *)to)->n_read++;
	return json_is_true(v) || fields_wrong(p, name, "true", v);
}

#define FIELD(f) offsetof(target, f)
static const field fields[] = {
	{"flag", 1, FIELD_BOOL, FIELD(flag), 0, 0, NULL},  {"whole", 1, FIELD_INT, FIELD(whole), 1, 16, NULL},
	{"real", 1, FIELD_REAL, FIELD(real), -2, 2, NULL}, {"text", 1, FIELD_TEXT, FIELD(text), 0, 0, NULL},
	{"any", 1, FIELD_ANY, FIELD(any), 0, 0, NULL},     {"twice", 1, FIELD_ANY, 0, 0, 0, read_twice},
	{"text", 2, FIELD_INT, FIELD(whole), 0, 9, NULL},  {0},
};

static bool read(const char *json, unsigned uses, target *to, problem *p)
{
	json_t *root = NULL;
	*p = (problem){0};
	bool ok = fields_parse(&root, json, strlen(json), p) && fields_read(fields, uses, root, to, p);
	json_decref(root);
	return ok;
}

static void refuses(const char *json, const char *param, const char *message)
{
	target t = {0};
	problem p;
	assert_false(read(json, 1, &t, &p));
	assert_int_equal(p.status, 400);
	assert_string_equal(p.param, param);
	assert_string_equal(p.message, message);
}

static void values_of_each_kind(void **state)
{
	target t = {.real = 7};
	problem p;
	(void)state;
	assert_true(read("{\"flag\": true, \"whole\": 16, \"real\": 1, \"other\": [1], \"twice\": true}", 1, &t, &p));
	assert_true(t.flag);
	assert_int_equal(t.whole, 16);
	assert_true(t.real == 1); /* an integer is a number */
	assert_int_equal(t.n_read, 1);
	assert_null(t.text);
	assert_true(read("{\"real\": null, \"whole\": null, \"twice\": null}", 1, &t, &p)); /* as if they were missing */
	assert_true(t.real == 1);
	assert_true(read("{\"whole\": 2.0}", 1, &t, &p)); /* 2.0 is an integer, as JSON Schema has it */
	assert_int_equal(t.whole, 2);
	assert_true(read("{\"text\": 3}", 2, &t, &p)); /* another use, another type */
	assert_int_equal(t.whole, 3);
}

static void wrong_values(void **state)
{
	(void)state;
	refuses("{\"flag\": 1}", "flag", "flag: expected true or false, found 1");
	refuses("{\"whole\": 0}", "whole", "whole: expected an integer from 1 to 16, found 0");
	refuses("{\"whole\": 1000000}", "whole", "whole: expected an integer from 1 to 16, found 1000000");
	refuses("{\"whole\": 1.5}", "whole", "whole: expected an integer from 1 to 16, found 1.5");
	refuses("{\"whole\": 1e300}", "whole", "whole: expected an integer from 1 to 16, found 1e+300");
	refuses("{\"whole\": \"1\"}", "whole", "whole: expected an integer from 1 to 16, found the string \"1\"");
	refuses("{\"real\": 2.5}", "real", "real: expected a number from -2 to 2, found 2.5");
	refuses("{\"real\": {}}", "real", "real: expected a number from -2 to 2, found an object");
	refuses("{\"text\": [1, 2]}", "text", "text: expected a string, found an array of 2");
	refuses("{\"twice\": false}", "twice", "twice: expected true, found false");
}

static void refuses_body(const char *body, size_t bytes, const char *part)
{
	json_t *root = NULL;
	problem p = {0};
	assert_false(fields_parse(&root, body, bytes, &p));
	assert_null(root);
	assert_int_equal(p.status, 400);
	assert_non_null(strstr(p.message, part));
}

static void bodies_that_are_no_object(void **state)
{
	(void)state;
	refuses_body(NULL, 0, "the body is empty");
	refuses_body("[1]", 3, "expected a JSON object, found an array of 1");
	refuses_body("{\"a\": 1", 7, "no JSON");
	refuses_body("{\"a\": 1} x", 10, "no JSON");
	refuses_body("{\"a\": 1, \"a\": 2}", 16, "no JSON"); /* whose value would count? */
	refuses_body("{\"a\": NaN}", 10, "no JSON");
	refuses_body("{\"a\": 1e999}", 12, "no JSON");
	refuses_body("{\"a\": \"\xff\"}", 10, "no JSON");
	refuses_body("{\"a\": \"\\ud800\"}", 15, "no JSON"); /* half a character */
	refuses_body("{\"a\": \"\0\"}", 10, "no JSON");
	refuses_body("{\"a\": \"\\u0000\"}", 15, "no JSON");
}

static void deep_nesting(void **state)
{
	size_t n = 100000;
	char *body = malloc(n + 5);
	(void)state;
	assert_non_null(body);
	memcpy(body, "{\"a\":", 5);
	memset(body + 5, '[', n);
	refuses_body(body, n + 5, "depth");
	free(body);
}

static void ids_of_an_array(void **state)
{
	json_t *good = json_pack("[i, i]", 0, 7), *bad = json_pack("[i, s]", 1, "2"), *negative = json_pack("[i]", -1);
	int32_t *ids = NULL;
	size_t n = 0;
	problem p = {0};
	(void)state;
	assert_true(fields_ids(&ids, &n, "tokens", good, &p));
	assert_int_equal(n, 2);
	assert_int_equal(ids[1], 7);
	free(ids);
	assert_false(fields_ids(&ids, &n, "tokens", bad, &p));
	assert_string_equal(p.message, "tokens: expected token ids, found the string \"2\"");
	free(ids);
	assert_false(fields_ids(&ids, &n, "tokens", negative, &p));
	free(ids);
	json_decref(good);
	json_decref(bad);
	json_decref(negative);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_of_each_kind),       cmocka_unit_test(wrong_values),
		cmocka_unit_test(bodies_that_are_no_object), cmocka_unit_test(deep_nesting),
		cmocka_unit_test(ids_of_an_array),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
