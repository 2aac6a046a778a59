/* value.c - values of templates, with the rules of Python: truth, equality, order, membership, iteration. */
#include "chat/jinja.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Makes room for one more entry; *capacity counts entries. */
static void *grow(jrun *r, void *entries, size_t n, size_t *capacity, size_t size)
{
	if (n < *capacity)
		return entries;
	size_t more = *capacity ? 2 * *capacity : 4;
	void *grown = evn_j_alloc(r, more, size);
	if (n > 0)
		memcpy(grown, entries, n * size);
	*capacity = more;
	return grown;
}

jlist *evn_j_new_list(jrun *r, size_t capacity)
{
	jlist *l = evn_j_alloc(r, 1, sizeof *l);
	l->items = capacity ? evn_j_alloc(r, capacity, sizeof *l->items) : NULL;
	l->capacity = capacity;
	return l;
}

void evn_j_push(jrun *r, jlist *l, jvalue v)
{
	evn_j_spend(r, 1);
	l->items = grow(r, l->items, l->n, &l->capacity, sizeof *l->items);
	l->items[l->n++] = v;
}

jdict *evn_j_new_dict(jrun *r) { return evn_j_alloc(r, 1, sizeof(jdict)); }

void evn_j_put_new(jrun *r, jdict *d, jvalue key, jvalue value)
{
	evn_j_spend(r, 1);
	d->pairs = grow(r, d->pairs, d->n, &d->capacity, sizeof *d->pairs);
	d->pairs[d->n++] = (jpair){key, value};
}

void evn_j_put(jrun *r, jdict *d, jvalue key, jvalue value)
{
	if (key.kind == J_LIST && key.list->tuple == false)
		evn_j_fail(r, EVN_ERR_FORMAT, "a list cannot be a key of a dict");
	if (key.kind == J_DICT)
		evn_j_fail(r, EVN_ERR_FORMAT, "a dict cannot be a key of a dict");
	for (size_t i = 0; i < d->n; i++)
		if (evn_j_equal(r, d->pairs[i].key, key)) {
			d->pairs[i].value = value;
			return;
		}
	evn_j_put_new(r, d, key, value);
}

const jvalue *evn_j_get(jrun *r, const jdict *d, jvalue key)
{
	for (size_t i = 0; i < d->n; i++)
		if (evn_j_equal(r, d->pairs[i].key, key))
			return &d->pairs[i].value;
	return NULL;
}

const jvalue *evn_j_get_name(const jdict *d, const jstring *name)
{
	for (size_t i = 0; i < d->n; i++)
		if (d->pairs[i].key.kind == J_STRING && evn_j_same(d->pairs[i].key.string, name))
			return &d->pairs[i].value;
	return NULL;
}

jvalue evn_j_undefined(jrun *r, const char *fmt, ...)
{
	char text[256];
	va_list args;
	va_start(args, fmt);
	vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	return (jvalue){.kind = J_UNDEFINED, .string = evn_j_text(r, text)};
}

void evn_j_fail_undefined(jrun *r, jvalue undefined)
{
	evn_j_fail(r, EVN_ERR_FORMAT, "%.*s", (int)undefined.string->n, undefined.string->bytes);
}

const char *evn_j_type(jvalue v)
{
	static const char *const names[] = {
		[J_MISSING] = "nothing", [J_UNDEFINED] = "Undefined", [J_NONE] = "None",        [J_BOOL] = "bool",
		[J_INT] = "int",         [J_FLOAT] = "float",         [J_STRING] = "str",       [J_LIST] = "list",
		[J_DICT] = "dict",       [J_NAMESPACE] = "Namespace", [J_LOOP] = "LoopContext", [J_CALLABLE] = "function"};
	return v.kind == J_LIST && v.list->tuple ? "tuple" : names[v.kind];
}

bool evn_j_true(jvalue v)
{
	switch (v.kind) {
	case J_MISSING:
	case J_UNDEFINED:
	case J_NONE:
		return false;
	case J_BOOL:
		return v.b;
	case J_INT:
		return v.i != 0;
	case J_FLOAT:
		return v.f != 0.0;
	case J_STRING:
		return v.string->n > 0;
	case J_LIST:
		return v.list->n > 0;
	case J_DICT:
		return v.dict->n > 0;
	default:
		return true;
	}
}

static bool lists_equal(jrun *r, const jlist *a, const jlist *b)
{
	bool equal = a->n == b->n && a->tuple == b->tuple;
	for (size_t i = 0; equal && i < a->n; i++)
		equal = evn_j_equal(r, a->items[i], b->items[i]);
	return equal;
}

static bool dicts_equal(jrun *r, const jdict *a, const jdict *b)
{
	bool equal = a->n == b->n;
	for (size_t i = 0; equal && i < a->n; i++) {
		const jvalue *other = evn_j_get(r, b, a->pairs[i].key);
		equal = other && evn_j_equal(r, a->pairs[i].value, *other);
	}
	return equal;
}

static bool equal_kinds(jrun *r, jvalue a, jvalue b)
{
	switch (a.kind) {
	case J_STRING:
		return evn_j_same(a.string, b.string);
	case J_LIST:
		return lists_equal(r, a.list, b.list);
	case J_DICT:
		return dicts_equal(r, a.dict, b.dict);
	case J_NAMESPACE:
		return a.dict == b.dict;
	case J_LOOP:
		return a.loop == b.loop;
	case J_CALLABLE:
		return a.callable == b.callable;
	default:
		return true; /* none, undefined */
	}
}

bool evn_j_equal(jrun *r, jvalue a, jvalue b)
{
	evn_j_spend(r, 1);
	if (j_is_whole(a) && j_is_whole(b))
		return j_whole(a) == j_whole(b);
	if (j_is_number(a) && j_is_number(b))
		return j_number(a) == j_number(b);
	if (a.kind != b.kind)
		return false;
	evn_j_enter(r);
	bool equal = equal_kinds(r, a, b);
	evn_j_leave(r);
	return equal;
}

static int compare_lists(jrun *r, const jlist *a, const jlist *b, const char *op)
{
	for (size_t i = 0; i < a->n && i < b->n; i++)
		if (!evn_j_equal(r, a->items[i], b->items[i]))
			return evn_j_compare(r, a->items[i], b->items[i], op);
	return (a->n > b->n) - (a->n < b->n);
}

int evn_j_compare(jrun *r, jvalue a, jvalue b, const char *op)
{
	evn_j_enter(r);
	int order = 0;
	if (j_is_whole(a) && j_is_whole(b))
		order = (j_whole(a) > j_whole(b)) - (j_whole(a) < j_whole(b));
	else if (j_is_number(a) && j_is_number(b))
		order = (j_number(a) > j_number(b)) - (j_number(a) < j_number(b));
	else if (a.kind == J_STRING && b.kind == J_STRING)
		order = evn_j_order(a.string, b.string);
	else if (a.kind == J_LIST && b.kind == J_LIST && a.list->tuple == b.list->tuple)
		order = compare_lists(r, a.list, b.list, op);
	else if (a.kind == J_UNDEFINED || b.kind == J_UNDEFINED)
		evn_j_fail_undefined(r, a.kind == J_UNDEFINED ? a : b);
	else
		evn_j_fail(r, EVN_ERR_FORMAT, "'%s' not supported between instances of '%s' and '%s'", op, evn_j_type(a),
				   evn_j_type(b));
	evn_j_leave(r);
	return order;
}

bool evn_j_contains(jrun *r, jvalue container, jvalue v)
{
	switch (container.kind) {
	case J_STRING:
		if (v.kind != J_STRING)
			evn_j_fail(r, EVN_ERR_FORMAT, "'in <string>' requires string as left operand, not %s", evn_j_type(v));
		return evn_j_find(r, container.string, v.string, 0) != SIZE_MAX;
	case J_DICT:
		return evn_j_get(r, container.dict, v) != NULL;
	case J_LIST:
		for (size_t i = 0; i < container.list->n; i++)
			if (evn_j_equal(r, container.list->items[i], v))
				return true;
		return false;
	case J_UNDEFINED:
		return false;
	default:
		evn_j_fail(r, EVN_ERR_FORMAT, "argument of type '%s' is not iterable", evn_j_type(container));
	}
}

static jlist *characters(jrun *r, const jstring *s)
{
	jlist *l = evn_j_new_list(r, 0);
	for (size_t at = 0, length; at < s->n; at += length) {
		evn_j_character(s, at, &length);
		evn_j_push(r, l, j_string(evn_j_part(r, s, at, at + length)));
	}
	return l;
}

jlist *evn_j_iterate(jrun *r, jvalue v)
{
	jlist *l;
	switch (v.kind) {
	case J_LIST:
		return v.list;
	case J_STRING:
		return characters(r, v.string);
	case J_UNDEFINED:
		return evn_j_new_list(r, 0);
	case J_DICT:
		l = evn_j_new_list(r, v.dict->n);
		for (size_t i = 0; i < v.dict->n; i++)
			evn_j_push(r, l, v.dict->pairs[i].key);
		return l;
	default:
		evn_j_fail(r, EVN_ERR_FORMAT, "'%s' object is not iterable", evn_j_type(v));
	}
}

size_t evn_j_count(jrun *r, jvalue v)
{
	switch (v.kind) {
	case J_LIST:
		return v.list->n;
	case J_STRING:
		evn_j_spend(r, v.string->n / 16);
		return evn_j_length(v.string);
	case J_UNDEFINED:
		return 0;
	case J_DICT:
		return v.dict->n;
	case J_LOOP:
		return v.loop->items->n;
	default:
		evn_j_fail(r, EVN_ERR_FORMAT, "object of type '%s' has no len()", evn_j_type(v));
	}
}
