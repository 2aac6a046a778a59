/* token.c - see token.h. */
#include "cli/show/token.h"

#include <stdio.h>
#include <stdlib.h>
#include <utf8proc.h>

/* Writes a character as it can be shown on one line. */
static size_t put_character(char *out, utf8proc_int32_t c, const char *blank)
{
	const char *shown = c == ' ' ? blank : c == '\n' ? "\\n" : c == '\t' ? "\\t" : c == '\r' ? "\\r" : NULL;
	utf8proc_category_t category = utf8proc_category(c);
	if (!shown &&
		(category == UTF8PROC_CATEGORY_CC || category == UTF8PROC_CATEGORY_CF || category == UTF8PROC_CATEGORY_CN))
		return (size_t)sprintf(out, "<%X>", (unsigned)c);
	return shown ? (size_t)sprintf(out, "%s", shown) : (size_t)utf8proc_encode_char(c, (utf8proc_uint8_t *)out);
}

void visible_text(char *out, size_t size, const char *text, size_t bytes, const char *blank)
{
	enum { LONGEST = 12 }; /* of one character in any spelling, and the end */
	size_t n = 0;
	for (size_t at = 0; at < bytes && n + LONGEST < size;) {
		utf8proc_int32_t c;
		utf8proc_ssize_t length =
			utf8proc_iterate((const utf8proc_uint8_t *)text + at, (utf8proc_ssize_t)(bytes - at), &c);
		if (length > 0)
			n += put_character(out + n, c, blank);
		else
			n += (size_t)sprintf(out + n, "\\x%02X", (unsigned char)text[at]);
		at += length > 0 ? (size_t)length : 1;
	}
	out[n] = 0;
}

void token_name(char *out, size_t size, const evn_model *m, int32_t id)
{
	char *text = NULL;
	size_t bytes = 0;
	evn_error ignored;
	out[0] = 0;
	if (evn_detokenize(m, &id, 1, true, &text, &bytes, &ignored) == EVN_OK)
		visible_text(out, size, text, bytes, "\u2423");
	if (!out[0])
		snprintf(out, size, "%d", id);
	free(text);
}
