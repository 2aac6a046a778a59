/* access.c - attributes, items and slices of values. As in Jinja2, a.b and a["b"] both find attributes and items;
 * they differ in what they try first. */
#include "chat/jinja.h"

#include <stdlib.h>
#include <string.h>

const jentry *evn_j_find_entry(const jentry *table, const jstring *name)
{
	for (; table->name; table++)
		if (evn_j_is(name, table->name))
			return table;
	return NULL;
}

static jvalue loop_attribute(jrun *r, const jloop *l, const jstring *name, bool *found)
{
	size_t n = l->items->n, i = l->index;
	const struct {
		const char *name;
		jvalue value;
	} known[] = {
		{"index", j_int((int64_t)i + 1)},
		{"index0", j_int((int64_t)i)},
		{"first", j_bool(i == 0)},
		{"last", j_bool(i + 1 == n)},
		{"length", j_int((int64_t)n)},
		{"revindex", j_int((int64_t)(n - i))},
		{"revindex0", j_int((int64_t)(n - i) - 1)},
		{"depth", j_int((int64_t)l->depth)},
		{"depth0", j_int((int64_t)l->depth - 1)},
	};
	*found = true;
	for (size_t k = 0; k < sizeof known / sizeof *known; k++)
		if (evn_j_is(name, known[k].name))
			return known[k].value;
	if (evn_j_is(name, "previtem"))
		return i > 0 ? l->items->items[i - 1] : evn_j_undefined(r, "there is no previous item");
	if (evn_j_is(name, "nextitem"))
		return i + 1 < n ? l->items->items[i + 1] : evn_j_undefined(r, "there is no next item");
	*found = false;
	return j_none();
}

static jvalue method_of(jrun *r, jvalue v, const jstring *name, bool *found)
{
	const jentry *table = v.kind == J_STRING ? evn_j_string_methods
						  : v.kind == J_DICT ? evn_j_dict_methods
						  : v.kind == J_LIST ? evn_j_list_methods
						  : v.kind == J_LOOP ? evn_j_loop_methods
											 : NULL;
	const jentry *e = table ? evn_j_find_entry(table, name) : NULL;
	*found = e != NULL;
	if (!e)
		return j_none();
	jcallable *c = evn_j_alloc(r, 1, sizeof *c);
	*c = (jcallable){.name = e->name, .function = e->function, .self = v};
	return (jvalue){.kind = J_CALLABLE, .callable = c};
}

static jvalue own_attribute(jrun *r, jvalue v, const jstring *name, bool *found)
{
	const jvalue *held = v.kind == J_NAMESPACE ? evn_j_get_name(v.dict, name) : NULL;
	*found = held != NULL;
	if (held)
		return *held;
	jvalue result = v.kind == J_LOOP ? loop_attribute(r, v.loop, name, found) : j_none();
	return *found ? result : method_of(r, v, name, found);
}

/* An item that is there; *found tells. Fails for an undefined v. */
static jvalue own_item(jrun *r, jvalue v, jvalue key, bool *found)
{
	*found = false;
	if (v.kind == J_UNDEFINED)
		evn_j_fail_undefined(r, v);
	if (v.kind == J_DICT || v.kind == J_NAMESPACE) {
		const jvalue *held = evn_j_get(r, v.dict, key);
		*found = held != NULL;
		return held ? *held : j_none();
	}
	if (!j_is_whole(key) || (v.kind != J_LIST && v.kind != J_STRING))
		return j_none();
	int64_t n = (int64_t)evn_j_count(r, v), i = j_whole(key);
	i += i < 0 ? n : 0;
	*found = i >= 0 && i < n;
	if (!*found)
		return j_none();
	if (v.kind == J_LIST)
		return v.list->items[i];
	size_t begin = evn_j_offset(v.string, (size_t)i), length;
	evn_j_character(v.string, begin, &length);
	return j_string(evn_j_part(r, v.string, begin, begin + length));
}

static jvalue not_there(jrun *r, jvalue v, jvalue key)
{
	const char *type = v.kind == J_NONE ? "None" : evn_j_type(v);
	if (key.kind != J_STRING) {
		jout o = {0};
		evn_j_repr(r, &o, key);
		const jstring *text = evn_j_finish(r, &o);
		return evn_j_undefined(r, "%s object has no element %.*s", type, J_SHOW(text));
	}
	return evn_j_undefined(r, "'%s%s' has no attribute '%.*s'", type, v.kind == J_NONE ? "" : " object",
						   J_SHOW(key.string));
}

jvalue evn_j_attribute(jrun *r, jvalue v, const jstring *name)
{
	bool found;
	if (v.kind == J_UNDEFINED)
		evn_j_fail_undefined(r, v);
	jvalue result = own_attribute(r, v, name, &found);
	if (!found)
		result = own_item(r, v, j_string(name), &found);
	return found ? result : not_there(r, v, j_string(name));
}

jvalue evn_j_item(jrun *r, jvalue v, jvalue key)
{
	bool found;
	jvalue result = own_item(r, v, key, &found);
	if (!found && key.kind == J_STRING)
		result = own_attribute(r, v, key.string, &found);
	return found ? result : not_there(r, v, key);
}

jvalue evn_j_path(jrun *r, jvalue v, jvalue path)
{
	if (j_is_whole(path))
		return evn_j_item(r, v, path);
	const jstring *s = evn_j_need_string(r, path, "attribute"), dot = {".", NULL, 1};
	for (size_t at = 0; at <= s->n;) {
		size_t end = evn_j_find(r, s, &dot, at);
		end = end == SIZE_MAX ? s->n : end;
		const jstring *part = evn_j_part(r, s, at, end);
		bool digits = part->n > 0 && part->n < 10;
		int64_t number = 0;
		for (size_t i = 0; digits && i < part->n; i++) {
			digits = part->bytes[i] >= '0' && part->bytes[i] <= '9';
			number = 10 * number + (part->bytes[i] - '0');
		}
		v = evn_j_item(r, v, digits ? j_int(number) : j_string(part));
		at = end + 1;
	}
	return v;
}

/* A bound of a slice as Python clips it. */
static int64_t clip(jrun *r, jvalue bound, int64_t n, int64_t step, int64_t initial)
{
	if (bound.kind == J_NONE)
		return initial;
	int64_t i = evn_j_need_int(r, bound, "a bound of a slice");
	i += i < 0 ? n : 0;
	int64_t low = step < 0 ? -1 : 0, high = step < 0 ? n - 1 : n;
	return i < low ? low : i > high ? high : i;
}

jvalue evn_j_slice(jrun *r, jvalue v, const jvalue bounds[3])
{
	if (v.kind == J_UNDEFINED)
		evn_j_fail_undefined(r, v);
	if (v.kind != J_LIST && v.kind != J_STRING)
		return evn_j_undefined(r, "'%s' object cannot be sliced", evn_j_type(v));
	int64_t n = (int64_t)evn_j_count(r, v);
	int64_t step = bounds[2].kind == J_NONE ? 1 : evn_j_need_int(r, bounds[2], "the step of a slice");
	if (step == 0)
		evn_j_fail(r, EVN_ERR_FORMAT, "the step of a slice is 0");
	int64_t begin = clip(r, bounds[0], n, step, step < 0 ? n - 1 : 0);
	int64_t end = clip(r, bounds[1], n, step, step < 0 ? -1 : n);
	if (v.kind == J_STRING && step == 1)
		return j_string(begin < end ? evn_j_part(r, v.string, evn_j_offset(v.string, (size_t)begin),
												 evn_j_offset(v.string, (size_t)end))
									: evn_j_text(r, ""));
	const jlist *from = evn_j_iterate(r, v);
	jlist *l = evn_j_new_list(r, 0);
	l->tuple = v.kind == J_LIST && v.list->tuple;
	int64_t count = step > 0 ? (end - begin + step - 1) / step : (begin - end - (step + 1)) / -step;
	if ((step > 0) != (begin < end) || begin == end)
		count = 0;
	for (int64_t i = 0; i < count; i++)
		evn_j_push(r, l, from->items[begin + i * step]);
	if (v.kind == J_LIST)
		return j_list(l);
	jout o = {0};
	for (size_t i = 0; i < l->n; i++)
		evn_j_append_all(r, &o, l->items[i].string);
	return j_string(evn_j_finish(r, &o));
}
