/* schema.c - see schema.h: what a schema is made of, references, and the choice of types. */
#include "grammar/schema.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "grammar/regex.h"

/* ---- messages -------------------------------------------------------------------------------------------------- */

evn_status evn_schema_fail(evn_schema *s, const char *keyword, const char *expected, const json_t *found)
{
	char *text = found ? json_dumps(found, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
	evn_fail(s->err, EVN_ERR_USAGE, "schema: %s: expected %s, found %.80s%s", keyword, expected,
			 text ? text : "nothing", text && strlen(text) > 80 ? "..." : "");
	free(text);
	return EVN_ERR_USAGE;
}

json_t *evn_schema_keep(evn_schema *s, json_t *made)
{
	return made && json_array_append_new(s->made, made) == 0 ? made : NULL;
}

evn_status evn_schema_count(evn_schema *s, json_t *schema, const char *keyword, uint64_t *count)
{
	const json_t *v = json_object_get(schema, keyword);
	if (!v)
		return EVN_OK;
	if (!json_is_number(v) || json_number_value(v) < 0)
		return evn_schema_fail(s, keyword, "a count", v);
	*count = json_number_value(v) < 1e15 ? (uint64_t)json_number_value(v) : (uint64_t)1000000000000000;
	return EVN_OK;
}

/* ---- parts that all share -------------------------------------------------------------------------------------- */

/* A rule for a regular expression that is part of the program. */
static uint32_t fixed_rule(evn_schema *s, uint32_t *rule, const char *regex)
{
	uint32_t to = 0;
	if (*rule != EVN_NET_NONE)
		return *rule;
	*rule = evn_net_rule(s->net);
	if (s->net->status == EVN_OK &&
		evn_regex_add(s->net, s->net->rules[*rule].start, regex, strlen(regex), false, &to, s->err) == EVN_OK)
		evn_net_empty(s->net, to, s->net->rules[*rule].end);
	return *rule;
}

uint32_t evn_schema_space(evn_schema *s, uint32_t from)
{
	return evn_net_call(s->net, from, fixed_rule(s, &s->space, "( |\\n {0,40})?"));
}

uint32_t evn_schema_character(evn_schema *s)
{
	return fixed_rule(s, &s->character, "[^\"\\\\\\x00-\\x1f\\x7f]|\\\\[\"\\\\bfnrt]");
}

/* Any object or any value: both need each other. */
static void make_any(evn_schema *s)
{
	json_error_t e;
	uint32_t to = 0;
	if (s->value != EVN_NET_NONE)
		return;
	s->value = evn_net_rule(s->net);
	s->object = evn_net_rule(s->net);
	json_t *values = evn_schema_keep(
		s, json_loads(
			   "[{\"type\": [\"null\", \"boolean\", \"number\", \"string\"]}, {\"type\": \"array\", \"items\": true},"
			   "{\"type\": \"object\", \"additionalProperties\": true}]",
			   0, &e));
	for (size_t i = 0; i < json_array_size(values) && s->net->status == EVN_OK; i++) {
		const uint32_t rule = i == 2 ? s->object : s->value;
		if (evn_schema_add(s, json_array_get(values, i), s->net->rules[rule].start, &to) == EVN_OK)
			evn_net_empty(s->net, to, s->net->rules[rule].end);
	}
	if (s->net->status == EVN_OK)
		evn_net_empty(s->net, evn_net_call(s->net, s->net->rules[s->value].start, s->object),
					  s->net->rules[s->value].end);
	if (!values)
		s->net->status = EVN_ERR_MEMORY;
}

uint32_t evn_schema_value(evn_schema *s, uint32_t from)
{
	make_any(s);
	return evn_net_call(s->net, from, s->value);
}

/* ---- references ------------------------------------------------------------------------------------------------ */

static int hex(char c)
{
	return c >= '0' && c <= '9'   ? c - '0'
		   : c >= 'a' && c <= 'f' ? c - 'a' + 10
		   : c >= 'A' && c <= 'F' ? c - 'A' + 10
								  : -1;
}

/* One part of a JSON pointer: ~0, ~1 and %XX stand for signs. Returns what follows. */
static const char *read_part(const char *p, char *to, size_t size)
{
	size_t n = 0;
	while (*p && *p != '/' && n + 1 < size) {
		if (p[0] == '%' && hex(p[1]) >= 0 && hex(p[2]) >= 0) {
			to[n++] = (char)(hex(p[1]) << 4 | hex(p[2]));
			p += 3;
		} else if (p[0] == '~' && (p[1] == '0' || p[1] == '1')) {
			to[n++] = p[1] == '0' ? '~' : '/';
			p += 2;
		} else {
			to[n++] = *p++;
		}
	}
	to[n] = '\0';
	return p;
}

static json_t *find(evn_schema *s, const char *pointer)
{
	char part[256];
	json_t *at = s->root;
	if (pointer[0] != '#')
		return NULL;
	for (pointer++; *pointer == '/' && at;) {
		pointer = read_part(pointer + 1, part, sizeof part);
		at = json_is_array(at) ? json_array_get(at, strtoul(part, NULL, 10)) : json_object_get(at, part);
	}
	return *pointer ? NULL : at;
}

/* Annotations beside a $ref do not count. */
static bool is_plain_reference(json_t *schema)
{
	const char *key;
	json_t *value;
	if (!json_object_get(schema, "$ref"))
		return false;
	json_object_foreach(schema, key, value) if (strcmp(key, "$ref") != 0 && evn_schema_constrains(key)) return false;
	return true;
}

evn_status evn_schema_resolve(evn_schema *s, json_t **schema)
{
	for (int i = 0; is_plain_reference(*schema); i++) {
		const json_t *ref = json_object_get(*schema, "$ref");
		json_t *to = json_is_string(ref) ? find(s, json_string_value(ref)) : NULL;
		if (!to || i == EVN_SCHEMA_MAX_DEPTH)
			return evn_schema_fail(s, "$ref", "a pointer into this schema, such as \"#/$defs/NAME\"", ref);
		*schema = to;
	}
	return EVN_OK;
}

evn_status evn_schema_rule_of(evn_schema *s, json_t *schema, uint32_t *rule)
{
	uint32_t to = 0;
	*rule = evn_net_rule(s->net);
	const uint32_t start = s->net->status == EVN_OK ? s->net->rules[*rule].start : 0;
	EVN_TRY(evn_schema_add(s, schema, start, &to));
	if (s->net->status == EVN_OK)
		evn_net_empty(s->net, to, s->net->rules[*rule].end);
	return EVN_OK;
}

/* A schema that $ref names is a rule, so that it may name itself. */
static evn_status call(evn_schema *s, json_t *schema, uint32_t from, uint32_t *to)
{
	uint32_t end = 0;
	EVN_TRY(evn_schema_resolve(s, &schema));
	for (size_t i = 0; i < s->n_rules; i++)
		if (s->rules[i].schema == schema) {
			*to = evn_net_call(s->net, from, s->rules[i].rule);
			return EVN_OK;
		}
	if (s->n_rules == s->rules_room) {
		const size_t room = s->rules_room ? 2 * s->rules_room : 32;
		evn_schema_rule *rules = realloc(s->rules, room * sizeof *rules);
		if (!rules)
			return evn_fail_memory(s->err, "schema", room * sizeof *rules);
		s->rules = rules;
		s->rules_room = room;
	}
	const uint32_t rule = evn_net_rule(s->net);
	s->rules[s->n_rules++] = (evn_schema_rule){schema, rule};
	EVN_TRY(evn_schema_add(s, schema, s->net->status == EVN_OK ? s->net->rules[rule].start : 0, &end));
	if (s->net->status == EVN_OK)
		evn_net_empty(s->net, end, s->net->rules[rule].end);
	*to = evn_net_call(s->net, from, rule);
	return EVN_OK;
}

/* ---- types ----------------------------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	unsigned bits;
} type_names[] = {{"null", EVN_JSON_NULL},       {"boolean", EVN_JSON_BOOLEAN},
				  {"integer", EVN_JSON_INTEGER}, {"number", EVN_JSON_INTEGER | EVN_JSON_NUMBER},
				  {"string", EVN_JSON_STRING},   {"array", EVN_JSON_ARRAY},
				  {"object", EVN_JSON_OBJECT}};

/* What constrains one type says that it is this type. */
static const struct {
	const char *keyword;
	unsigned bits;
} hints[] = {{"properties", EVN_JSON_OBJECT},
			 {"required", EVN_JSON_OBJECT},
			 {"additionalProperties", EVN_JSON_OBJECT},
			 {"patternProperties", EVN_JSON_OBJECT},
			 {"minProperties", EVN_JSON_OBJECT},
			 {"maxProperties", EVN_JSON_OBJECT},
			 {"items", EVN_JSON_ARRAY},
			 {"prefixItems", EVN_JSON_ARRAY},
			 {"additionalItems", EVN_JSON_ARRAY},
			 {"minItems", EVN_JSON_ARRAY},
			 {"maxItems", EVN_JSON_ARRAY},
			 {"pattern", EVN_JSON_STRING},
			 {"format", EVN_JSON_STRING},
			 {"minLength", EVN_JSON_STRING},
			 {"maxLength", EVN_JSON_STRING},
			 {"minimum", EVN_JSON_NUMBER | EVN_JSON_INTEGER},
			 {"maximum", EVN_JSON_NUMBER | EVN_JSON_INTEGER},
			 {"exclusiveMinimum", EVN_JSON_NUMBER | EVN_JSON_INTEGER},
			 {"exclusiveMaximum", EVN_JSON_NUMBER | EVN_JSON_INTEGER},
			 {"multipleOf", EVN_JSON_NUMBER | EVN_JSON_INTEGER}};

static evn_status named_type(evn_schema *s, const json_t *name, unsigned *types)
{
	for (size_t i = 0; i < sizeof type_names / sizeof *type_names; i++)
		if (json_is_string(name) && strcmp(json_string_value(name), type_names[i].name) == 0) {
			*types |= type_names[i].bits;
			return EVN_OK;
		}
	return evn_schema_fail(s, "type", "null, boolean, integer, number, string, array or object", name);
}

evn_status evn_schema_types(evn_schema *s, json_t *schema, unsigned *types)
{
	const json_t *type = json_object_get(schema, "type");
	*types = 0;
	for (size_t i = 0; i < json_array_size(type); i++)
		EVN_TRY(named_type(s, json_array_get(type, i), types));
	if (type && !json_is_array(type))
		return named_type(s, type, types);
	for (size_t i = 0; i < sizeof hints / sizeof *hints && !type; i++)
		*types |= json_object_get(schema, hints[i].keyword) ? hints[i].bits : 0;
	if (!*types && !type)
		*types = EVN_JSON_ANY;
	return EVN_OK;
}

unsigned evn_schema_type_of(const json_t *v)
{
	switch (json_typeof(v)) {
	case JSON_NULL:
		return EVN_JSON_NULL;
	case JSON_TRUE:
	case JSON_FALSE:
		return EVN_JSON_BOOLEAN;
	case JSON_INTEGER:
		return EVN_JSON_INTEGER;
	case JSON_REAL:
		return json_real_value(v) == (double)(json_int_t)json_real_value(v) ? EVN_JSON_INTEGER : EVN_JSON_NUMBER;
	case JSON_STRING:
		return EVN_JSON_STRING;
	case JSON_ARRAY:
		return EVN_JSON_ARRAY;
	case JSON_OBJECT:
		return EVN_JSON_OBJECT;
	}
	return 0;
}

static evn_status add_types(evn_schema *s, json_t *schema, uint32_t from, uint32_t *to)
{
	unsigned types;
	uint32_t end;
	EVN_TRY(evn_schema_types(s, schema, &types));
	*to = evn_net_state(s->net);
	if (types == EVN_JSON_ANY && !json_object_get(schema, "type")) {
		evn_net_empty(s->net, evn_schema_value(s, from), *to);
		return EVN_OK;
	}
	if (types & EVN_JSON_NULL)
		evn_net_empty(s->net, evn_net_text(s->net, from, "null", 4), *to);
	if (types & EVN_JSON_BOOLEAN) {
		evn_net_empty(s->net, evn_net_text(s->net, from, "true", 4), *to);
		evn_net_empty(s->net, evn_net_text(s->net, from, "false", 5), *to);
	}
	if (types & (EVN_JSON_INTEGER | EVN_JSON_NUMBER)) {
		EVN_TRY(evn_schema_number(s, schema, !(types & EVN_JSON_NUMBER), from, &end));
		evn_net_empty(s->net, end, *to);
	}
	if (types & EVN_JSON_STRING) {
		EVN_TRY(evn_schema_string(s, schema, from, &end));
		evn_net_empty(s->net, end, *to);
	}
	if (types & EVN_JSON_ARRAY) {
		EVN_TRY(evn_schema_array(s, schema, from, &end));
		evn_net_empty(s->net, end, *to);
	}
	if (types & EVN_JSON_OBJECT) {
		EVN_TRY(evn_schema_object(s, schema, from, &end));
		evn_net_empty(s->net, end, *to);
	}
	return EVN_OK;
}

/* ---- combinations ---------------------------------------------------------------------------------------------- */

/* A copy without a keyword. */
static json_t *without(evn_schema *s, json_t *schema, const char *keyword)
{
	json_t *copy = evn_schema_keep(s, json_copy(schema));
	if (copy)
		json_object_del(copy, keyword);
	return copy;
}

static evn_status check_apart(evn_schema *s, json_t *const *branches, size_t n)
{
	bool rejects;
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < n; k++) {
			if (i == k)
				continue;
			EVN_TRY(evn_schema_rejects(s, branches[i], branches[k], 0, &rejects));
			if (!rejects)
				return evn_fail(
					s->err, EVN_ERR_UNSUPPORTED,
					"schema: oneOf: expected alternatives of which a value satisfies only one, found that %zu "
					"and %zu may share some (use anyOf)",
					(i < k ? i : k) + 1, (i < k ? k : i) + 1);
		}
	return EVN_OK;
}

static evn_status add_branches(evn_schema *s, json_t *schema, const char *keyword, uint32_t from, uint32_t *to)
{
	json_t *list = json_object_get(schema, keyword), *rest = without(s, schema, keyword);
	json_t *branches[EVN_SCHEMA_MAX_BRANCHES];
	const size_t n = json_array_size(list);
	bool constrains = false;
	const char *key;
	json_t *value;
	if (!json_is_array(list) || n == 0)
		return evn_schema_fail(s, keyword, "an array of schemas", list);
	if (n > EVN_SCHEMA_MAX_BRANCHES)
		return evn_fail(s->err, EVN_ERR_LIMIT, "schema: %s: more than %d alternatives", keyword,
						EVN_SCHEMA_MAX_BRANCHES);
	json_object_foreach(rest, key, value) constrains |= evn_schema_constrains(key);
	for (size_t i = 0; i < n; i++) {
		branches[i] = json_array_get(list, i);
		if (constrains)
			EVN_TRY(evn_schema_merge(s, rest, branches[i], &branches[i]));
	}
	if (strcmp(keyword, "oneOf") == 0)
		EVN_TRY(check_apart(s, branches, n));
	*to = evn_net_state(s->net);
	for (size_t i = 0; i < n; i++) {
		uint32_t begin = evn_net_state(s->net), end;
		evn_net_empty(s->net, from, begin);
		EVN_TRY(evn_schema_add(s, branches[i], begin, &end));
		evn_net_empty(s->net, end, *to);
	}
	return EVN_OK;
}

static evn_status add_all(evn_schema *s, json_t *schema, uint32_t from, uint32_t *to)
{
	json_t *list = json_object_get(schema, "allOf"), *all = without(s, schema, "allOf");
	const char *key;
	json_t *value;
	bool constrains = false;
	if (!json_is_array(list) || !all)
		return evn_schema_fail(s, "allOf", "an array of schemas", list);
	json_object_foreach(all, key, value) constrains |= evn_schema_constrains(key);
	for (size_t i = 0; i < json_array_size(list); i++) {
		if (constrains || i > 0)
			EVN_TRY(evn_schema_merge(s, all, json_array_get(list, i), &all));
		else
			all = json_array_get(list, i);
	}
	return evn_schema_add(s, all, from, to);
}

/* Keywords that restrict values in ways that a network cannot follow. */
static evn_status refuse(evn_schema *s, json_t *schema)
{
	static const char *const words[] = {"not",
										"if",
										"dependentRequired",
										"dependentSchemas",
										"dependencies",
										"contains",
										"propertyNames",
										"unevaluatedProperties",
										"unevaluatedItems",
										"$dynamicRef",
										"$recursiveRef"};
	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		if (json_object_get(schema, words[i]))
			return evn_fail(s->err, EVN_ERR_UNSUPPORTED, "schema: expected no '%s', which is not supported",
							words[i]);
	if (json_is_true(json_object_get(schema, "uniqueItems")))
		return evn_fail(s->err, EVN_ERR_UNSUPPORTED, "schema: expected no 'uniqueItems', which is not supported");
	return EVN_OK;
}

static evn_status add_schema(evn_schema *s, json_t *schema, uint32_t from, uint32_t *to)
{
	if (json_is_true(schema)) {
		*to = evn_schema_value(s, from);
		return EVN_OK;
	}
	if (json_is_false(schema)) {
		*to = evn_net_state(s->net);
		return EVN_OK;
	}
	if (!json_is_object(schema))
		return evn_schema_fail(s, "a schema", "an object, true or false", schema);
	EVN_TRY(refuse(s, schema));
	if (is_plain_reference(schema))
		return call(s, schema, from, to);
	if (json_object_get(schema, "$ref")) {
		json_t *merged, *rest = without(s, schema, "$ref"),
						*ref = evn_schema_keep(s, json_pack("{s:O}", "$ref", json_object_get(schema, "$ref")));
		EVN_TRY(evn_schema_merge(s, rest, ref, &merged));
		return evn_schema_add(s, merged, from, to);
	}
	if (json_object_get(schema, "allOf"))
		return add_all(s, schema, from, to);
	if (json_object_get(schema, "anyOf"))
		return add_branches(s, schema, "anyOf", from, to);
	if (json_object_get(schema, "oneOf"))
		return add_branches(s, schema, "oneOf", from, to);
	if (json_object_get(schema, "enum") || json_object_get(schema, "const"))
		return evn_schema_enum(s, schema, from, to);
	return add_types(s, schema, from, to);
}

evn_status evn_schema_add(evn_schema *s, json_t *schema, uint32_t from, uint32_t *to)
{
	*to = from;
	if (s->net->status != EVN_OK)
		return EVN_OK; /* evn_net_finish says it */
	if (++s->depth > EVN_SCHEMA_MAX_DEPTH)
		return evn_fail(s->err, EVN_ERR_LIMIT, "schema: it is nested more than %d deep", EVN_SCHEMA_MAX_DEPTH);
	const evn_status status = add_schema(s, schema, from, to);
	s->depth--;
	return status;
}

/* ---- the whole ------------------------------------------------------------------------------------------------- */

evn_status evn_schema_add_to(evn_net *n, json_t *schema, json_t *root, uint32_t from, uint32_t *to, evn_error *err)
{
	evn_schema s = {.net = n,
					.root = root,
					.made = json_array(),
					.err = err,
					.space = EVN_NET_NONE,
					.character = EVN_NET_NONE,
					.value = EVN_NET_NONE,
					.object = EVN_NET_NONE};
	const evn_status status = s.made ? evn_schema_add(&s, schema, from, to) : evn_fail_memory(err, "schema", 0);
	json_decref(s.made);
	free(s.rules);
	return status;
}

static evn_status read_schema(evn_net *n, json_t *schema, evn_error *err)
{
	uint32_t to = 0;
	n->root = evn_net_rule(n);
	if (n->status != EVN_OK)
		return evn_fail_memory(err, "schema", 0);
	const evn_rule root = n->rules[n->root];
	EVN_TRY(evn_schema_add_to(n, schema, schema, root.start, &to, err));
	evn_net_empty(n, to, root.end);
	return evn_net_finish(n, NULL, NULL, err);
}

evn_status evn_schema_read(evn_net *n, const char *text, size_t length, evn_error *err)
{
	json_error_t e;
	json_t *schema = json_loadb(text, length, JSON_DECODE_ANY, &e);
	if (!schema)
		return evn_fail(err, EVN_ERR_USAGE, "schema: expected JSON, found an error in line %d, column %d: %s", e.line,
						e.column, e.text);
	const evn_status status = read_schema(n, schema, err);
	json_decref(schema);
	return status;
}

evn_status evn_schema_any_object(evn_net *n, evn_error *err)
{
	static const char schema[] = "{\"type\": \"object\"}";
	return evn_schema_read(n, schema, strlen(schema), err);
}
