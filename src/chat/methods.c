/* methods.c - the methods of strings, dicts and lists that templates may call. */
#include "chat/jinja.h"

/* ---- strings ------------------------------------------------------------------------------------------------- */

static jvalue strip(jrun *r, jvalue self, const jargs *a, bool left, bool right)
{
	jvalue given[] = {j_none()};
	evn_j_bind(r, a, &(jparameters){"strip", {"chars"}}, given);
	return j_string(evn_j_strip(
		r, self.string, given[0].kind == J_NONE ? NULL : evn_j_need_string(r, given[0], "strip"), left, right));
}

static jvalue string_strip(jrun *r, jvalue self, const jargs *a) { return strip(r, self, a, true, true); }
static jvalue string_lstrip(jrun *r, jvalue self, const jargs *a) { return strip(r, self, a, true, false); }
static jvalue string_rstrip(jrun *r, jvalue self, const jargs *a) { return strip(r, self, a, false, true); }

static jvalue recase(jrun *r, jvalue self, const jargs *a, jcase to)
{
	evn_j_bind(r, a, &(jparameters){"a method of strings", {0}}, NULL);
	return j_string(evn_j_recase(r, self.string, to));
}

static jvalue string_upper(jrun *r, jvalue self, const jargs *a) { return recase(r, self, a, CASE_UPPER); }
static jvalue string_lower(jrun *r, jvalue self, const jargs *a) { return recase(r, self, a, CASE_LOWER); }
static jvalue string_title(jrun *r, jvalue self, const jargs *a) { return recase(r, self, a, CASE_TITLE); }
static jvalue string_capitalize(jrun *r, jvalue self, const jargs *a) { return recase(r, self, a, CASE_CAPITALIZE); }

static bool has_affix(const jstring *s, const jstring *affix, bool at_end)
{
	const jstring part = {s->bytes + (at_end && affix->n <= s->n ? s->n - affix->n : 0), NULL, affix->n};
	return affix->n <= s->n && evn_j_same(&part, affix);
}

static jvalue affix(jrun *r, jvalue self, const jargs *a, const char *name, bool at_end)
{
	jvalue given[] = {{0}};
	evn_j_bind(r, a, &(jparameters){name, {"affix"}}, given);
	if (given[0].kind != J_LIST)
		return j_bool(has_affix(self.string, evn_j_need_string(r, given[0], name), at_end));
	for (size_t i = 0; i < given[0].list->n; i++)
		if (has_affix(self.string, evn_j_need_string(r, given[0].list->items[i], name), at_end))
			return j_bool(true);
	return j_bool(false);
}

static jvalue string_startswith(jrun *r, jvalue self, const jargs *a)
{
	return affix(r, self, a, "startswith", false);
}
static jvalue string_endswith(jrun *r, jvalue self, const jargs *a) { return affix(r, self, a, "endswith", true); }

static jvalue without_affix(jrun *r, jvalue self, const jargs *a, const char *name, bool at_end)
{
	jvalue given[] = {{0}};
	evn_j_bind(r, a, &(jparameters){name, {"affix"}}, given);
	const jstring *s = self.string, *x = evn_j_need_string(r, given[0], name);
	if (!has_affix(s, x, at_end))
		return self;
	return j_string(at_end ? evn_j_part(r, s, 0, s->n - x->n) : evn_j_part(r, s, x->n, s->n));
}

static jvalue string_removeprefix(jrun *r, jvalue self, const jargs *a)
{
	return without_affix(r, self, a, "removeprefix", false);
}

static jvalue string_removesuffix(jrun *r, jvalue self, const jargs *a)
{
	return without_affix(r, self, a, "removesuffix", true);
}

static jvalue string_replace(jrun *r, jvalue self, const jargs *a)
{
	jvalue given[] = {{0}, {0}, j_int(-1)};
	evn_j_bind(r, a, &(jparameters){"replace", {"old", "new", "count"}}, given);
	return j_string(evn_j_replace(r, self.string, evn_j_need_string(r, given[0], "replace: old"),
								  evn_j_need_string(r, given[1], "replace: new"),
								  evn_j_need_int(r, given[2], "replace: count")));
}

static size_t characters_before(const jstring *s, size_t byte)
{
	const jstring part = {s->bytes, NULL, byte};
	return evn_j_length(&part);
}

/* The byte at which the argument start or end points; behind the end: s->n + 1. */
static size_t bound(jrun *r, const jstring *s, jvalue v, size_t initial)
{
	if (v.kind == J_NONE)
		return initial;
	int64_t i = evn_j_need_int(r, v, "the place in a string"), n = (int64_t)evn_j_length(s);
	i += i < 0 ? n : 0;
	return i < 0 ? 0 : i > n ? s->n + 1 : evn_j_offset(s, (size_t)i);
}

static size_t find_in(jrun *r, const jstring *s, const jstring *what, size_t begin, size_t end, bool last)
{
	const jstring part = {s->bytes, s->foreign, end < s->n ? end : s->n};
	size_t hit = evn_j_find(r, &part, what, begin);
	for (size_t next = hit; last && next != SIZE_MAX;) {
		hit = next;
		next = evn_j_find(r, &part, what, hit + 1);
	}
	return hit;
}

static jvalue find(jrun *r, jvalue self, const jargs *a, const char *name, bool last)
{
	jvalue given[] = {{0}, j_none(), j_none()};
	evn_j_bind(r, a, &(jparameters){name, {"sub", "start", "end"}}, given);
	size_t begin = bound(r, self.string, given[1], 0), end = bound(r, self.string, given[2], self.string->n);
	size_t hit = find_in(r, self.string, evn_j_need_string(r, given[0], name), begin, end, last);
	return j_int(hit == SIZE_MAX ? -1 : (int64_t)characters_before(self.string, hit));
}

static jvalue string_find(jrun *r, jvalue self, const jargs *a) { return find(r, self, a, "find", false); }
static jvalue string_rfind(jrun *r, jvalue self, const jargs *a) { return find(r, self, a, "rfind", true); }

static jvalue string_index(jrun *r, jvalue self, const jargs *a)
{
	jvalue v = find(r, self, a, "index", false);
	if (v.i < 0)
		evn_j_fail(r, EVN_ERR_FORMAT, "index: the text is not there");
	return v;
}

static jvalue string_count(jrun *r, jvalue self, const jargs *a)
{
	jvalue given[] = {{0}};
	int64_t n = 0;
	evn_j_bind(r, a, &(jparameters){"count", {"sub"}}, given);
	const jstring *what = evn_j_need_string(r, given[0], "count");
	if (what->n == 0)
		return j_int((int64_t)evn_j_length(self.string) + 1);
	for (size_t at = 0; (at = evn_j_find(r, self.string, what, at)) != SIZE_MAX; at += what->n)
		n++;
	return j_int(n);
}

static void push_part(jrun *r, jlist *l, const jstring *s, size_t begin, size_t end)
{
	evn_j_push(r, l, j_string(evn_j_part(r, s, begin, end)));
}

/* Without a separator: the words between white space. */
static void split_words(jrun *r, jlist *l, const jstring *s, int64_t most)
{
	s = evn_j_strip(r, s, NULL, true, false);
	while (s->n > 0) {
		size_t at = 0, length;
		while (at < s->n && !evn_j_is_space(evn_j_character(s, at, &length)))
			at += length;
		if (most == 0) {
			evn_j_push(r, l, j_string(s));
			return;
		}
		most -= most > 0;
		push_part(r, l, s, 0, at);
		s = evn_j_strip(r, evn_j_part(r, s, at, s->n), NULL, true, false);
	}
}

static jvalue string_split(jrun *r, jvalue self, const jargs *a)
{
	jvalue given[] = {j_none(), j_int(-1)};
	evn_j_bind(r, a, &(jparameters){"split", {"sep", "maxsplit"}}, given);
	const jstring *s = self.string;
	jlist *l = evn_j_new_list(r, 0);
	int64_t most = evn_j_need_int(r, given[1], "split: maxsplit");
	if (given[0].kind == J_NONE) {
		split_words(r, l, s, most);
		return j_list(l);
	}
	const jstring *separator = evn_j_need_string(r, given[0], "split: sep");
	if (separator->n == 0)
		evn_j_fail(r, EVN_ERR_FORMAT, "split: an empty separator");
	size_t at = 0;
	for (size_t hit; most != 0 && (hit = evn_j_find(r, s, separator, at)) != SIZE_MAX; at = hit + separator->n) {
		push_part(r, l, s, at, hit);
		most -= most > 0;
	}
	push_part(r, l, s, at, s->n);
	return j_list(l);
}

static jvalue string_rsplit(jrun *r, jvalue self, const jargs *a)
{
	jvalue given[] = {{0}, j_int(-1)};
	evn_j_bind(r, a, &(jparameters){"rsplit", {"sep", "maxsplit"}}, given);
	const jvalue separator[] = {given[0]};
	jlist *l = string_split(r, self, &(jargs){separator, 1, NULL, 0}).list;
	int64_t most = evn_j_need_int(r, given[1], "rsplit: maxsplit");
	if (most < 0 || l->n <= (size_t)most + 1)
		return j_list(l);
	size_t joined = l->n - (size_t)most; /* the first of them become one again */
	const jstring *last = l->items[joined - 1].string;
	jlist *out = evn_j_new_list(r, 0);
	push_part(r, out, self.string, 0, (size_t)(last->bytes - self.string->bytes) + last->n);
	for (size_t i = joined; i < l->n; i++)
		evn_j_push(r, out, l->items[i]);
	return j_list(out);
}

static jvalue string_splitlines(jrun *r, jvalue self, const jargs *a)
{
	jvalue given[] = {j_bool(false)};
	jlist *l = evn_j_new_list(r, 0);
	evn_j_bind(r, a, &(jparameters){"splitlines", {"keepends"}}, given);
	for (size_t at = 0, next; at < self.string->n; at = next) {
		size_t end = evn_j_line_end(self.string, at, &next);
		push_part(r, l, self.string, at, evn_j_true(given[0]) ? next : end);
	}
	return j_list(l);
}

static jvalue string_join(jrun *r, jvalue self, const jargs *a)
{
	jvalue given[] = {{0}};
	jout o = {0};
	evn_j_bind(r, a, &(jparameters){"join", {"iterable"}}, given);
	const jlist *l = evn_j_iterate(r, given[0]);
	for (size_t i = 0; i < l->n; i++) {
		if (i > 0)
			evn_j_append_all(r, &o, self.string);
		evn_j_append_all(r, &o, evn_j_need_string(r, l->items[i], "join"));
	}
	return j_string(evn_j_finish(r, &o));
}

static jvalue string_isdigit(jrun *r, jvalue self, const jargs *a)
{
	evn_j_bind(r, a, &(jparameters){"isdigit", {0}}, NULL);
	bool all = self.string->n > 0;
	for (size_t i = 0; i < self.string->n; i++)
		all = all && self.string->bytes[i] >= '0' && self.string->bytes[i] <= '9';
	return j_bool(all);
}

const jentry evn_j_string_methods[] = {
	{"strip", string_strip},
	{"lstrip", string_lstrip},
	{"rstrip", string_rstrip},
	{"upper", string_upper},
	{"lower", string_lower},
	{"title", string_title},
	{"capitalize", string_capitalize},
	{"startswith", string_startswith},
	{"endswith", string_endswith},
	{"removeprefix", string_removeprefix},
	{"removesuffix", string_removesuffix},
	{"replace", string_replace},
	{"find", string_find},
	{"rfind", string_rfind},
	{"index", string_index},
	{"count", string_count},
	{"split", string_split},
	{"rsplit", string_rsplit},
	{"splitlines", string_splitlines},
	{"join", string_join},
	{"isdigit", string_isdigit},
	{0},
};

/* ---- dicts and lists ----------------------------------------------------------------------------------------- */

static jvalue dict_get(jrun *r, jvalue self, const jargs *a)
{
	jvalue given[] = {{0}, j_none()};
	evn_j_bind(r, a, &(jparameters){"get", {"key", "default"}}, given);
	const jvalue *v = evn_j_get(r, self.dict, given[0]);
	return v ? *v : given[1];
}

static jvalue dict_keys(jrun *r, jvalue self, const jargs *a)
{
	evn_j_bind(r, a, &(jparameters){"keys", {0}}, NULL);
	return j_list(evn_j_iterate(r, self));
}

static jvalue dict_values(jrun *r, jvalue self, const jargs *a)
{
	jlist *l = evn_j_new_list(r, self.dict->n);
	evn_j_bind(r, a, &(jparameters){"values", {0}}, NULL);
	for (size_t i = 0; i < self.dict->n; i++)
		evn_j_push(r, l, self.dict->pairs[i].value);
	return j_list(l);
}

static jvalue dict_items(jrun *r, jvalue self, const jargs *a)
{
	static const jstring name = {"items", NULL, 5};
	return evn_j_apply_filter(r, &name, self, a);
}

_Noreturn static jvalue changes(jrun *r, jvalue self, const jargs *a)
{
	(void)a;
	evn_j_fail(r, EVN_ERR_FORMAT, "a template may not change a %s", evn_j_type(self));
}

const jentry evn_j_dict_methods[] = {
	{"get", dict_get},   {"keys", dict_keys}, {"values", dict_values}, {"items", dict_items},   {"pop", changes},
	{"update", changes}, {"clear", changes},  {"popitem", changes},    {"setdefault", changes}, {0},
};

static jvalue list_index(jrun *r, jvalue self, const jargs *a)
{
	jvalue given[] = {{0}};
	evn_j_bind(r, a, &(jparameters){"index", {"value"}}, given);
	for (size_t i = 0; i < self.list->n; i++)
		if (evn_j_equal(r, self.list->items[i], given[0]))
			return j_int((int64_t)i);
	evn_j_fail(r, EVN_ERR_FORMAT, "index: the value is not in the list");
}

static jvalue list_count(jrun *r, jvalue self, const jargs *a)
{
	jvalue given[] = {{0}};
	int64_t n = 0;
	evn_j_bind(r, a, &(jparameters){"count", {"value"}}, given);
	for (size_t i = 0; i < self.list->n; i++)
		n += evn_j_equal(r, self.list->items[i], given[0]);
	return j_int(n);
}

const jentry evn_j_list_methods[] = {
	{"index", list_index},
	{"count", list_count},
	{"append", changes},
	{"extend", changes},
	{"insert", changes},
	{"pop", changes},
	{"remove", changes},
	{"reverse", changes},
	{"sort", changes},
	{"clear", changes},
	{0},
};

static jvalue loop_cycle(jrun *r, jvalue self, const jargs *a)
{
	if (a->n == 0)
		evn_j_fail(r, EVN_ERR_FORMAT, "cycle: no values");
	return a->values[self.loop->index % a->n];
}

const jentry evn_j_loop_methods[] = {{"cycle", loop_cycle}, {0}};
