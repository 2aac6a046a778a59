/* render.c - renders the chat templates of a JSON array on standard input, for compare.py. A case is an object with a
 * template and its variables. Prints an array of {"text"} or {"status", "error"}. */
#include "chat/template.h"

#include <stdio.h>
#include <string.h>

static json_t *render(const json_t *test)
{
	evn_rendered out;
	evn_error err = {0};
	const json_t *text = json_object_get(test, "template");
	const evn_template t = {
		.name = "template",
		.text = json_string_value(text),
		.n = json_string_length(text),
		.variables = json_object_get(test, "variables"),
		.own = json_object_get(test, "own"),
		.now = {.tm_year = 126, .tm_mon = 6, .tm_mday = 4, .tm_hour = 9, .tm_min = 5, .tm_wday = 6, .tm_yday = 184},
	};
	if (evn_template_render(&out, &t, &err) != EVN_OK)
		return json_pack("{s:s, s:s}", "status", evn_status_name(err.code), "error", err.text);
	json_t *result = json_pack("{s:s%}", "text", out.text, out.n);
	evn_rendered_free(&out);
	return result;
}

int main(void)
{
	json_error_t trouble;
	json_t *cases = json_loadf(stdin, JSON_ALLOW_NUL, &trouble), *results = json_array();
	if (!cases) {
		fprintf(stderr, "line %d: %s\n", trouble.line, trouble.text);
		return 2;
	}
	for (size_t i = 0; i < json_array_size(cases); i++)
		json_array_append_new(results, render(json_array_get(cases, i)));
	json_dumpf(results, stdout, JSON_ENSURE_ASCII);
	putchar('\n');
	json_decref(cases);
	json_decref(results);
	return 0;
}
