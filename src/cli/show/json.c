/* json.c - see json.h. */
#include "cli/show/json.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "base/utf8.h"

json_t *json_bytes(const char *text, size_t n)
{
	size_t bytes;
	char *clean = evn_utf8_clean(text, n, &bytes);
	json_t *string = clean ? json_stringn(clean, bytes) : NULL;
	free(clean);
	return string;
}

json_t *json_text(const char *text) { return text ? json_bytes(text, strlen(text)) : json_null(); }

json_t *json_number(double value) { return isfinite(value) ? json_real(value) : json_null(); }

json_t *json_ids(const int32_t *ids, size_t n)
{
	json_t *array = json_array();
	for (size_t i = 0; i < n; i++)
		json_push(&array, json_integer(ids[i]));
	return array;
}

json_t *json_measured(const evn_measured *m)
{
	if (m->taken_s <= 0)
		return json_null();
	return json_pack("{s:o, s:b, s:b, s:o, s:o}", "taken_s", json_number(m->taken_s), "thorough", m->thorough,
					 "doubted", m->doubted, "other_programs_cores", json_number(m->others), "spread",
					 json_number(m->spread));
}

void json_push(json_t **array, json_t *item)
{
	if (!*array) {
		json_decref(item);
	} else if (json_array_append_new(*array, item) != 0) {
		json_decref(*array);
		*array = NULL;
	}
}

evn_status json_print(json_t *root, evn_error *err)
{
	if (!root)
		return evn_fail_memory(err, "the JSON result", 0);
	/* nine digits distinguish any two floats */
	int failed = json_dumpf(root, stdout, JSON_REAL_PRECISION(9));
	json_decref(root);
	if (failed || putchar('\n') == EOF)
		return evn_fail(err, EVN_ERR_FILE, "standard output: %s", strerror(errno));
	return EVN_OK;
}
