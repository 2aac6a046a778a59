/* filters_list.c - filters over the entries of lists and dicts. Sorting ignores case unless case_sensitive is given,
 * and entries that are equal keep their order. */
#include "chat/jinja.h"

/* ---- keys: what entries are compared by ---------------------------------------------------------------------- */

static jvalue key_of(jrun *r, jvalue v, jvalue attribute, bool case_sensitive)
{
	if (attribute.kind != J_NONE)
		v = evn_j_path(r, v, attribute);
	return v.kind == J_STRING && !case_sensitive ? j_string(evn_j_recase(r, v.string, CASE_LOWER)) : v;
}

static jvalue *keys_of(jrun *r, const jlist *l, jvalue attribute, bool case_sensitive)
{
	jvalue *keys = evn_j_alloc(r, l->n + 1, sizeof *keys);
	for (size_t i = 0; i < l->n; i++)
		keys[i] = key_of(r, l->items[i], attribute, case_sensitive);
	return keys;
}

static bool comes_first(jrun *r, jvalue a, jvalue b, bool reverse)
{
	return reverse ? evn_j_compare(r, b, a, "<") <= 0 : evn_j_compare(r, a, b, "<") <= 0;
}

/* Sorts places by the keys of the entries there: merge sort, since libc's may not be left by a jump. */
static void sort_places(jrun *r, size_t *places, size_t *scratch, size_t n, const jvalue *keys, bool reverse)
{
	if (n < 2)
		return;
	size_t half = n / 2, a = 0, b = half;
	sort_places(r, places, scratch, half, keys, reverse);
	sort_places(r, places + half, scratch, n - half, keys, reverse);
	for (size_t i = 0; i < n; i++) {
		bool left = b == n || (a < half && comes_first(r, keys[places[a]], keys[places[b]], reverse));
		scratch[i] = places[left ? a++ : b++];
	}
	for (size_t i = 0; i < n; i++)
		places[i] = scratch[i];
}

static jvalue sorted(jrun *r, const jlist *l, const jvalue *keys, bool reverse)
{
	size_t *places = evn_j_alloc(r, 2 * l->n + 1, sizeof *places);
	for (size_t i = 0; i < l->n; i++)
		places[i] = i;
	sort_places(r, places, places + l->n, l->n, keys, reverse);
	jlist *out = evn_j_new_list(r, l->n);
	for (size_t i = 0; i < l->n; i++)
		evn_j_push(r, out, l->items[places[i]]);
	return j_list(out);
}

static jvalue filter_sort(jrun *r, jvalue self, const jargs *a)
{
	jvalue given[] = {j_bool(false), j_bool(false), j_none()};
	evn_j_bind(r, a, &(jparameters){"sort", {"reverse", "case_sensitive", "attribute"}}, given);
	const jlist *l = evn_j_iterate(r, self);
	return sorted(r, l, keys_of(r, l, given[2], evn_j_true(given[1])), evn_j_true(given[0]));
}

static jlist *pairs_of(jrun *r, jvalue v, const char *filter)
{
	jlist *l = evn_j_new_list(r, 0);
	if (v.kind == J_UNDEFINED)
		return l;
	if (v.kind != J_DICT)
		evn_j_fail(r, EVN_ERR_FORMAT, "%s: expected a dict, found %s", filter, evn_j_type(v));
	for (size_t i = 0; i < v.dict->n; i++) {
		jlist *pair = evn_j_new_list(r, 2);
		pair->tuple = true;
		evn_j_push(r, pair, v.dict->pairs[i].key);
		evn_j_push(r, pair, v.dict->pairs[i].value);
		evn_j_push(r, l, j_list(pair));
	}
	return l;
}

static jvalue filter_items(jrun *r, jvalue self, const jargs *a)
{
	evn_j_bind(r, a, &(jparameters){"items", {0}}, NULL);
	return j_list(pairs_of(r, self, "items"));
}

static jvalue filter_dictsort(jrun *r, jvalue self, const jargs *a)
{
	jvalue given[] = {j_bool(false), j_string(evn_j_text(r, "key")), j_bool(false)};
	evn_j_bind(r, a, &(jparameters){"dictsort", {"case_sensitive", "by", "reverse"}}, given);
	const jlist *l = pairs_of(r, self, "dictsort");
	bool by_value = evn_j_is(evn_j_need_string(r, given[1], "dictsort: by"), "value");
	return sorted(r, l, keys_of(r, l, j_int(by_value), evn_j_true(given[0])), evn_j_true(given[2]));
}

static jvalue extreme(jrun *r, jvalue self, const jargs *a, const char *name, int sign)
{
	jvalue given[] = {j_bool(false), j_none()};
	evn_j_bind(r, a, &(jparameters){name, {"case_sensitive", "attribute"}}, given);
	const jlist *l = evn_j_iterate(r, self);
	const jvalue *keys = keys_of(r, l, given[1], evn_j_true(given[0]));
	size_t best = 0;
	for (size_t i = 1; i < l->n; i++)
		if (sign * evn_j_compare(r, keys[i], keys[best], "<") > 0)
			best = i;
	return l->n > 0 ? l->items[best] : evn_j_undefined(r, "No aggregated item, sequence was empty.");
}

static jvalue filter_min(jrun *r, jvalue self, const jargs *a) { return extreme(r, self, a, "min", -1); }
static jvalue filter_max(jrun *r, jvalue self, const jargs *a) { return extreme(r, self, a, "max", 1); }

static jvalue filter_sum(jrun *r, jvalue self, const jargs *a)
{
	jvalue given[] = {j_none(), j_int(0)};
	evn_j_bind(r, a, &(jparameters){"sum", {"attribute", "start"}}, given);
	const jlist *l = evn_j_iterate(r, self);
	jvalue total = given[1];
	for (size_t i = 0; i < l->n; i++)
		total = evn_j_operate(r, OP_ADD, total, key_of(r, l->items[i], given[0], true));
	return total;
}

static jvalue filter_unique(jrun *r, jvalue self, const jargs *a)
{
	jvalue given[] = {j_bool(false), j_none()};
	evn_j_bind(r, a, &(jparameters){"unique", {"case_sensitive", "attribute"}}, given);
	const jlist *l = evn_j_iterate(r, self);
	jlist *seen = evn_j_new_list(r, 0), *out = evn_j_new_list(r, 0);
	for (size_t i = 0; i < l->n; i++) {
		jvalue key = key_of(r, l->items[i], given[1], evn_j_true(given[0]));
		if (evn_j_contains(r, j_list(seen), key))
			continue;
		evn_j_push(r, seen, key);
		evn_j_push(r, out, l->items[i]);
	}
	return j_list(out);
}

static jvalue filter_batch(jrun *r, jvalue self, const jargs *a)
{
	jvalue given[] = {{0}, j_none()};
	evn_j_bind(r, a, &(jparameters){"batch", {"linecount", "fill_with"}}, given);
	int64_t size = evn_j_need_int(r, given[0], "batch: linecount");
	const jlist *l = evn_j_iterate(r, self);
	jlist *out = evn_j_new_list(r, 0), *row = NULL;
	if (size < 1)
		evn_j_fail(r, EVN_ERR_FORMAT, "batch: linecount: expected at least 1");
	for (size_t i = 0; i < l->n; i++) {
		if (!row || row->n == (size_t)size) {
			row = evn_j_new_list(r, 0);
			evn_j_push(r, out, j_list(row));
		}
		evn_j_push(r, row, l->items[i]);
	}
	while (row && given[1].kind != J_NONE && row->n < (size_t)size)
		evn_j_push(r, row, given[1]);
	return j_list(out);
}

/* ---- map, select and their relatives ------------------------------------------------------------------------- */

/* The arguments after the first n. */
static jargs rest_of(const jargs *a, size_t n)
{
	return n < a->n ? (jargs){a->values + n, a->n - n, a->keywords, a->n_keywords}
					: (jargs){NULL, 0, a->keywords, a->n_keywords};
}

static jvalue filter_map(jrun *r, jvalue self, const jargs *a)
{
	const jlist *l = evn_j_iterate(r, self);
	jlist *out = evn_j_new_list(r, l->n);
	if (a->n == 0) {
		jvalue given[] = {{0}, j_none()};
		evn_j_bind(r, a, &(jparameters){"map", {"attribute", "default"}}, given);
		for (size_t i = 0; i < l->n; i++) {
			jvalue v = evn_j_path(r, l->items[i], given[0]);
			evn_j_push(r, out, v.kind == J_UNDEFINED && given[1].kind != J_NONE ? given[1] : v);
		}
		return j_list(out);
	}
	const jstring *name = evn_j_need_string(r, a->values[0], "map: the name of a filter");
	jargs rest = rest_of(a, 1);
	for (size_t i = 0; i < l->n; i++)
		evn_j_push(r, out, evn_j_apply_filter(r, name, l->items[i], &rest));
	return j_list(out);
}

/* by_attribute: the first argument names what is tested. The next one names the test; without it, truth. */
static jvalue choose(jrun *r, jvalue self, const jargs *a, bool by_attribute, bool wanted)
{
	const jlist *l = evn_j_iterate(r, self);
	jlist *out = evn_j_new_list(r, 0);
	size_t place = by_attribute;
	if (by_attribute && a->n == 0)
		evn_j_fail(r, EVN_ERR_FORMAT, "selectattr, rejectattr: no name of an attribute");
	const jstring *test = a->n > place ? evn_j_need_string(r, a->values[place], "the name of a test") : NULL;
	jargs rest = rest_of(a, place + 1);
	for (size_t i = 0; i < l->n; i++) {
		evn_j_spend(r, 1);
		jvalue v = by_attribute ? evn_j_path(r, l->items[i], a->values[0]) : l->items[i];
		if ((test ? evn_j_apply_test(r, test, v, &rest) : evn_j_true(v)) == wanted)
			evn_j_push(r, out, l->items[i]);
	}
	return j_list(out);
}

static jvalue filter_select(jrun *r, jvalue self, const jargs *a) { return choose(r, self, a, false, true); }
static jvalue filter_reject(jrun *r, jvalue self, const jargs *a) { return choose(r, self, a, false, false); }
static jvalue filter_selectattr(jrun *r, jvalue self, const jargs *a) { return choose(r, self, a, true, true); }
static jvalue filter_rejectattr(jrun *r, jvalue self, const jargs *a) { return choose(r, self, a, true, false); }

const jentry evn_j_list_filters[] = {
	{"sort", filter_sort},
	{"items", filter_items},
	{"dictsort", filter_dictsort},
	{"min", filter_min},
	{"max", filter_max},
	{"sum", filter_sum},
	{"unique", filter_unique},
	{"batch", filter_batch},
	{"map", filter_map},
	{"select", filter_select},
	{"reject", filter_reject},
	{"selectattr", filter_selectattr},
	{"rejectattr", filter_rejectattr},
	{0},
};
