/* json.c - see json.h. */
#include "cli/json.h"
#include "cli/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Bytes of the UTF-8 character at s, or 0 where there is none: too short, too long a form, a surrogate, too large. */
static size_t utf8_length(const unsigned char *s, size_t n)
{
	if (s[0] < 0x80)
		return 1;
	size_t length = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
	if (s[0] < 0xc2 || s[0] > 0xf4 || n < length)
		return 0;
	for (size_t i = 1; i < length; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	bool overlong = (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xf0 && s[1] < 0x90);
	bool outside = (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf4 && s[1] > 0x8f);
	return overlong || outside ? 0 : length;
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
		size_t length = utf8_length((const unsigned char *)text + i, n - i);
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
