/* filters.c - filters that make one value of one value. Those over the entries of lists are in filters_list.c. */
#include "chat/jinja.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static jvalue filter_trim(jrun *r, jvalue self, const jargs *a)
{
	jvalue given[] = {j_none()};
	evn_j_bind(r, a, &(jparameters){"trim", {"chars"}}, given);
	const jstring *characters = given[0].kind == J_NONE ? NULL : evn_j_need_string(r, given[0], "trim: chars");
	return j_string(evn_j_strip(r, evn_j_str(r, self), characters, true, true));
}

static jvalue filter_length(jrun *r, jvalue self, const jargs *a)
{
	evn_j_bind(r, a, &(jparameters){"length", {0}}, NULL);
	return j_int((int64_t)evn_j_count(r, self));
}

static jvalue recase(jrun *r, jvalue self, const jargs *a, const char *name, jcase to)
{
	evn_j_bind(r, a, &(jparameters){name, {0}}, NULL);
	return j_string(evn_j_recase(r, evn_j_str(r, self), to));
}

static jvalue filter_upper(jrun *r, jvalue self, const jargs *a) { return recase(r, self, a, "upper", CASE_UPPER); }
static jvalue filter_lower(jrun *r, jvalue self, const jargs *a) { return recase(r, self, a, "lower", CASE_LOWER); }
static jvalue filter_title(jrun *r, jvalue self, const jargs *a) { return recase(r, self, a, "title", CASE_WORDS); }
static jvalue filter_capitalize(jrun *r, jvalue self, const jargs *a)
{
	return recase(r, self, a, "capitalize", CASE_CAPITALIZE);
}

static jvalue filter_replace(jrun *r, jvalue self, const jargs *a)
{
	jvalue given[] = {{0}, {0}, j_none()};
	evn_j_bind(r, a, &(jparameters){"replace", {"old", "new", "count"}}, given);
	int64_t most = given[2].kind == J_NONE ? -1 : evn_j_need_int(r, given[2], "replace: count");
	return j_string(
		evn_j_replace(r, evn_j_str(r, self), evn_j_str(r, given[0]), evn_j_str(r, given[1]), most == 0 ? -1 : most));
}

static jvalue filter_default(jrun *r, jvalue self, const jargs *a)
{
	jvalue given[] = {j_string(evn_j_text(r, "")), j_bool(false)};
	evn_j_bind(r, a, &(jparameters){"default", {"default_value", "boolean"}}, given);
	bool absent = self.kind == J_UNDEFINED || (evn_j_true(given[1]) && !evn_j_true(self));
	return absent ? given[0] : self;
}

static jvalue filter_list(jrun *r, jvalue self, const jargs *a)
{
	evn_j_bind(r, a, &(jparameters){"list", {0}}, NULL);
	const jlist *from = evn_j_iterate(r, self);
	jlist *l = evn_j_new_list(r, from->n);
	for (size_t i = 0; i < from->n; i++)
		evn_j_push(r, l, from->items[i]);
	return j_list(l);
}

static jvalue filter_string(jrun *r, jvalue self, const jargs *a)
{
	evn_j_bind(r, a, &(jparameters){"string", {0}}, NULL);
	return j_string(evn_j_str(r, self));
}

/* The text of a number without white space around it, NUL-terminated; NULL: too long to be one. */
static const char *number_text(jrun *r, const jstring *s, char text[64])
{
	size_t n = 0;
	s = evn_j_strip(r, s, NULL, true, true);
	for (size_t i = 0; i < s->n; i++) {
		if (n == 63)
			return NULL;
		if (s->bytes[i] == '_' && i > 0 && i + 1 < s->n)
			continue;
		text[n++] = s->bytes[i];
	}
	text[n] = '\0';
	return n > 0 ? text : NULL;
}

static bool to_float(jrun *r, jvalue v, double *out)
{
	char text[64], *end;
	if (j_is_number(v)) {
		*out = j_number(v);
		return true;
	}
	const char *number = v.kind == J_STRING ? number_text(r, v.string, text) : NULL;
	if (!number || strpbrk(number, "xXpP("))
		return false;
	*out = strtod(number, &end);
	return !*end;
}

static jvalue filter_float(jrun *r, jvalue self, const jargs *a)
{
	jvalue given[] = {j_float(0)};
	double f;
	evn_j_bind(r, a, &(jparameters){"float", {"default"}}, given);
	return to_float(r, self, &f) ? j_float(f) : given[0];
}

static jvalue filter_int(jrun *r, jvalue self, const jargs *a)
{
	jvalue given[] = {j_int(0), j_int(10)};
	char text[64], *end;
	double f;
	evn_j_bind(r, a, &(jparameters){"int", {"default", "base"}}, given);
	int64_t base = evn_j_need_int(r, given[1], "int: base");
	if (base < 2 || base > 36)
		evn_j_fail(r, EVN_ERR_FORMAT, "int: base: expected 2 to 36");
	if (j_is_whole(self))
		return j_int(j_whole(self));
	const char *number = self.kind == J_STRING ? number_text(r, self.string, text) : NULL;
	if (number) {
		int64_t value = strtoll(number, &end, (int)base);
		if (!*end && end != number)
			return j_int(value);
	}
	if (!to_float(r, self, &f) || !isfinite(f) || fabs(f) >= 9.2e18)
		return given[0];
	return j_int((int64_t)f);
}

static jvalue filter_abs(jrun *r, jvalue self, const jargs *a)
{
	evn_j_bind(r, a, &(jparameters){"abs", {0}}, NULL);
	if (!j_is_number(self))
		evn_j_fail(r, EVN_ERR_FORMAT, "abs: expected a number, found %s", evn_j_type(self));
	if (self.kind == J_FLOAT)
		return j_float(fabs(self.f));
	return j_whole(self) < 0 ? evn_j_operate(r, OP_SUB, j_int(0), self) : j_int(j_whole(self));
}

static jvalue filter_round(jrun *r, jvalue self, const jargs *a)
{
	jvalue given[] = {j_int(0), j_string(evn_j_text(r, "common"))};
	evn_j_bind(r, a, &(jparameters){"round", {"precision", "method"}}, given);
	int64_t precision = evn_j_need_int(r, given[0], "round: precision");
	const jstring *method = evn_j_need_string(r, given[1], "round: method");
	if (!j_is_number(self) || precision < 0 || precision > 15)
		evn_j_fail(r, EVN_ERR_FORMAT, "round: expected a number, and a precision of 0 to 15");
	double scale = pow(10, (double)precision), f = j_number(self) * scale;
	if (evn_j_is(method, "ceil"))
		return j_float(ceil(f) / scale);
	if (evn_j_is(method, "floor"))
		return j_float(floor(f) / scale);
	if (j_is_whole(self))
		return j_int(j_whole(self));
	char text[400]; /* printing rounds as Python does: the exact value, half to even */
	snprintf(text, sizeof text, "%.*f", (int)precision, j_number(self));
	return j_float(strtod(text, NULL));
}

/* Strings are safe as they are: chat templates escape nothing. */
static jvalue filter_safe(jrun *r, jvalue self, const jargs *a)
{
	evn_j_bind(r, a, &(jparameters){"safe", {0}}, NULL);
	return j_string(evn_j_str(r, self));
}

static void append_indented(jrun *r, jout *o, const jstring *s, size_t at, const jstring *indent, bool blank)
{
	while (at < s->n) {
		size_t next, end = evn_j_line_end(s, at, &next);
		evn_j_append(r, o, "\n", 1);
		if (end > at || blank)
			evn_j_append_all(r, o, indent);
		evn_j_append_part(r, o, s, at, end);
		at = next;
	}
}

static jvalue filter_indent(jrun *r, jvalue self, const jargs *a)
{
	jvalue given[] = {j_int(4), j_bool(false), j_bool(false)};
	jout o = {0}, with_newline = {0}, spaces = {0};
	evn_j_bind(r, a, &(jparameters){"indent", {"width", "first", "blank"}}, given);
	if (given[0].kind == J_STRING)
		evn_j_append_all(r, &spaces, given[0].string);
	else
		for (int64_t i = evn_j_need_int(r, given[0], "indent: width"); i > 0; i--)
			evn_j_append(r, &spaces, " ", 1);
	const jstring *indent = evn_j_finish(r, &spaces);
	evn_j_append_all(r, &with_newline, evn_j_str(r, self));
	evn_j_append(r, &with_newline, "\n", 1); /* as Jinja2 does, so that an empty last line counts */
	const jstring *s = evn_j_finish(r, &with_newline);
	size_t next, end = evn_j_line_end(s, 0, &next);
	if (evn_j_true(given[1]))
		evn_j_append_all(r, &o, indent);
	evn_j_append_part(r, &o, s, 0, end);
	append_indented(r, &o, s, next, indent, evn_j_true(given[2]));
	return j_string(evn_j_finish(r, &o));
}

static jvalue filter_join(jrun *r, jvalue self, const jargs *a)
{
	jvalue given[] = {j_string(evn_j_text(r, "")), j_none()};
	jout o = {0};
	evn_j_bind(r, a, &(jparameters){"join", {"d", "attribute"}}, given);
	const jstring *between = evn_j_str(r, given[0]);
	const jlist *l = evn_j_iterate(r, self);
	for (size_t i = 0; i < l->n; i++) {
		evn_j_spend(r, 1);
		if (i > 0)
			evn_j_append_all(r, &o, between);
		evn_j_print(r, &o, given[1].kind == J_NONE ? l->items[i] : evn_j_path(r, l->items[i], given[1]));
	}
	return j_string(evn_j_finish(r, &o));
}

static jvalue filter_attr(jrun *r, jvalue self, const jargs *a)
{
	jvalue given[] = {{0}};
	evn_j_bind(r, a, &(jparameters){"attr", {"name"}}, given);
	return evn_j_attribute(r, self, evn_j_need_string(r, given[0], "attr: name"));
}

static jvalue filter_reverse(jrun *r, jvalue self, const jargs *a)
{
	evn_j_bind(r, a, &(jparameters){"reverse", {0}}, NULL);
	if (self.kind == J_STRING)
		return evn_j_slice(r, self, (jvalue[]){j_none(), j_none(), j_int(-1)});
	const jlist *from = evn_j_iterate(r, self);
	jlist *l = evn_j_new_list(r, from->n);
	for (size_t i = from->n; i > 0; i--)
		evn_j_push(r, l, from->items[i - 1]);
	return j_list(l);
}

static jvalue end_of(jrun *r, jvalue self, const jargs *a, const char *name, bool last)
{
	evn_j_bind(r, a, &(jparameters){name, {0}}, NULL);
	const jlist *l = evn_j_iterate(r, self);
	return l->n > 0 ? l->items[last ? l->n - 1 : 0] : evn_j_undefined(r, "No %s item, sequence was empty.", name);
}

static jvalue filter_first(jrun *r, jvalue self, const jargs *a) { return end_of(r, self, a, "first", false); }
static jvalue filter_last(jrun *r, jvalue self, const jargs *a) { return end_of(r, self, a, "last", true); }

const jentry evn_j_filters[] = {
	{"trim", filter_trim},
	{"length", filter_length},
	{"count", filter_length},
	{"upper", filter_upper},
	{"lower", filter_lower},
	{"title", filter_title},
	{"capitalize", filter_capitalize},
	{"replace", filter_replace},
	{"default", filter_default},
	{"d", filter_default},
	{"list", filter_list},
	{"string", filter_string},
	{"int", filter_int},
	{"float", filter_float},
	{"abs", filter_abs},
	{"round", filter_round},
	{"safe", filter_safe},
	{"indent", filter_indent},
	{"join", filter_join},
	{"attr", filter_attr},
	{"reverse", filter_reverse},
	{"first", filter_first},
	{"last", filter_last},
	{"tojson", evn_j_filter_tojson},
	{0},
};
