/* test_fill.c - templates: what they make of fields, and which are refused. */
#include "cli/batch/fill.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* expected: the text with | around what comes from a field. */
static void expect(const char *source, const char *fields, const char *expected)
{
	text_template t;
	filled_text f;
	evn_error err = {0};
	char marked[512] = "";
	json_t *object = json_loads(fields, 0, NULL);
	assert_non_null(object);
	assert_int_equal(template_read(&t, source, &err), EVN_OK);
	assert_int_equal(template_fill(&f, &t, object, &err), EVN_OK);
	assert_int_equal(strlen(f.text), f.bytes);
	for (size_t i = 0, n = 0, r = 0; i <= f.bytes; i++) {
		if (r < f.n_fields && i == f.fields[r].begin)
			marked[n++] = '|';
		if (r < f.n_fields && i == f.fields[r].end) {
			marked[n++] = '|';
			r++;
		}
		marked[n++] = f.text[i];
	}
	assert_string_equal(marked, expected);
	filled_text_free(&f);
	template_free(&t);
	json_decref(object);
}

static void test_fields(void **state)
{
	(void)state;
	expect("", "{}", "");
	expect("plain", "{}", "plain");
	expect("{text}", "{\"text\":\"a b\"}", "|a b|");
	expect("Q: {question} in {context}.", "{\"question\":\"why\",\"context\":\"x\"}", "Q: |why| in |x|.");
	expect("{{\"a\": {n}}}", "{\"n\":12}", "{\"a\": |12|}");
	expect("{a}-{a}-{b_2}", "{\"a\":true,\"b_2\":0.5}", "|true|-|true|-|0.5|");
	expect("{text}!", "{\"text\":\"{question} {{ }\"}", "|{question} {{ }|!"); /* not read again */
	expect("{text}", "{\"text\":\"\\u00e9\"}", "|\xc3\xa9|");
}

static void refuses(const char *source, const char *fields, const char *expected)
{
	text_template t;
	filled_text f = {0};
	evn_error err = {0};
	evn_status status = template_read(&t, source, &err);
	json_t *object = fields ? json_loads(fields, 0, NULL) : NULL;
	if (status == EVN_OK && object)
		status = template_fill(&f, &t, object, &err);
	assert_int_equal(status, EVN_ERR_USAGE);
	if (!strstr(err.text, expected))
		fail_msg("'%s' is not in '%s'", expected, err.text);
	json_decref(object);
	filled_text_free(&f);
	template_free(&t);
}

static void test_refused(void **state)
{
	(void)state;
	refuses("a {", NULL, "'{': expected a field");
	refuses("a {b c} d", NULL, "'{b c} d': expected a field");
	refuses("{}", NULL, "'{}'");
	refuses("a } b", NULL, "'} b': a brace without a beginning");
	refuses("{text}", "{}", "field {text} is missing");
	refuses("{text}", "{\"text\":null}", "{text} is null");
	refuses("{text}", "{\"text\":[1]}", "{text} is a list");
	refuses("{text}", "{\"text\":{}}", "{text} is an object");
}

static void test_other_fields(void **state)
{
	(void)state;
	text_template t;
	evn_error err = {0};
	assert_int_equal(template_read(&t, "{text} {{question}} {text}", &err), EVN_OK);
	assert_null(template_other_field(&t, "text"));
	template_free(&t);
	assert_int_equal(template_read(&t, "{text} {question}", &err), EVN_OK);
	assert_string_equal(template_other_field(&t, "text"), "question");
	template_free(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fields),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_other_fields),
	};
	return cmocka_run_group_tests_name("fill", tests, NULL, NULL);
}
