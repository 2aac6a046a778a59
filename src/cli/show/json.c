/* json.c - see json.h. */
#include "cli/show/json.h"
#include "cli/show/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

/* Bytes of the UTF-8 character at s, or 0 where there is none. */
static size_t utf8_length(const char *s, size_t n)
{
	utf8proc_int32_t character;
	utf8proc_ssize_t length = utf8proc_iterate((const utf8proc_uint8_t *)s, n < 4 ? (utf8proc_ssize_t)n : 4, &character);
	return length > 0 ? (size_t)length : 0;
}

json_t *json_bytes(const char *text, size_t n)
{
	if (n > (SIZE_MAX - 1) / 3)
		return NULL;
	char *clean = malloc(3 * n + 1); /* U+FFFD takes three bytes */
	if (!clean)
		return NULL;
	size_t used = 0;
	for (size_t i = 0; i < n;) {
		size_t length = utf8_length(text + i, n - i);
		memcpy(clean + used, length ? text + i : "\xef\xbf\xbd", length ? length : 3);
		used += length ? length : 3;
		i += length ? length : 1;
	}
	json_t *string = json_stringn(clean, used);
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
		return cli_fail_memory(err, "the JSON result");
	/* nine digits tell any two floats apart */
	int failed = json_dumpf(root, stdout, JSON_REAL_PRECISION(9));
	json_decref(root);
	if (failed || putchar('\n') == EOF)
		return cli_fail(err, EVN_ERR_FILE, "standard output: cannot be written");
	return EVN_OK;
}
