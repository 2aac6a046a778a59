/* units.c - see units.h. */
#include "cli/batch/units.h"

#include <stdlib.h>
#include <utf8proc.h>

int32_t character_at(const char *text, size_t bytes, size_t at, size_t *length)
{
	utf8proc_int32_t c;
	utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)text + at, (utf8proc_ssize_t)(bytes - at), &c);
	*length = n > 0 ? (size_t)n : 1;
	return n > 0 ? c : NO_CHARACTER;
}

bool is_space(int32_t c)
{
	if (c < 0x80)
		return c == ' ' || (c >= '\t' && c <= '\r');
	return c == 0x85 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a && c != 0x2007) || c == 0x2028 || c == 0x2029 ||
		   c == 0x205f || c == 0x3000 || c == 0xfeff;
}

size_t skip_space(const char *text, size_t bytes, size_t at)
{
	size_t length;
	while (at < bytes && is_space(character_at(text, bytes, at, &length)))
		at += length;
	return at;
}

/* The end of the white space at text[at], and how many lines end in it. A paragraph separator counts as two. */
static size_t measure_space(const char *text, size_t bytes, size_t at, unsigned *n_lines)
{
	size_t length;
	int32_t last = 0;
	*n_lines = 0;
	for (; at < bytes; at += length) {
		int32_t c = character_at(text, bytes, at, &length);
		if (!is_space(c))
			break;
		if (c == 0x2029)
			*n_lines += 2;
		else if (c == '\n' || c == '\r' || c == 0x85 || c == 0x2028)
			*n_lines += !(c == '\n' && last == '\r');
		last = c;
	}
	return at;
}

bool next_unit(text_range *unit, const char *text, size_t bytes, size_t from, cut_units units)
{
	size_t at = skip_space(text, bytes, from), length;
	*unit = (text_range){at, at};
	while (at < bytes) {
		unsigned n_lines;
		bool ends = false;
		size_t after = measure_space(text, bytes, at, &n_lines);
		if (after > at) {
			if (units == CUT_LINES ? n_lines > 0 : units != CUT_WHOLE && n_lines > 1)
				break;
			at = after;
			continue;
		}
		after = units == CUT_SENTENCES ? sentence_end(text, bytes, unit->begin, at, &ends) : at;
		if (after == at) {
			character_at(text, bytes, at, &length);
			after += length;
		}
		unit->end = at = after;
		if (ends)
			break;
	}
	return unit->end > unit->begin;
}

static bool is_word_end(const char *text, text_range range, size_t at)
{
	size_t length;
	return at == range.end || is_space(character_at(text, range.end, at, &length));
}

bool find_ends(size_t **ends, size_t *n, const char *text, text_range range, bool words)
{
	int32_t last = 0, state = 0;
	size_t length;
	*n = 0;
	*ends = malloc((range.end - range.begin + 1) * sizeof **ends);
	for (size_t at = range.begin; *ends && at < range.end; at += length) {
		int32_t c = character_at(text, range.end, at, &length);
		bool breaks = at == range.begin || c < 0 || last < 0 || utf8proc_grapheme_break_stateful(last, c, &state);
		if (!words && breaks && at > range.begin)
			(*ends)[(*n)++] = at;
		if (words && !is_space(c) && is_word_end(text, range, at + length))
			(*ends)[(*n)++] = at + length;
		last = c;
	}
	if (*ends && !words && range.end > range.begin)
		(*ends)[(*n)++] = range.end;
	return *ends != NULL;
}
