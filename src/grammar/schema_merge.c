/* schema_merge.c - one schema of two that must both hold, and whether two exclude each other. Nothing is expanded:
 * where both have a schema for the same part, the result has an allOf there. */
#include <string.h>

#include "grammar/schema.h"

bool evn_schema_constrains(const char *keyword)
{
	static const char *const constraints[] = {"$ref",
											  "type",
											  "enum",
											  "const",
											  "allOf",
											  "anyOf",
											  "oneOf",
											  "not",
											  "if",
											  "properties",
											  "required",
											  "additionalProperties",
											  "patternProperties",
											  "minProperties",
											  "maxProperties",
											  "items",
											  "prefixItems",
											  "additionalItems",
											  "minItems",
											  "maxItems",
											  "uniqueItems",
											  "contains",
											  "pattern",
											  "format",
											  "minLength",
											  "maxLength",
											  "minimum",
											  "maximum",
											  "exclusiveMinimum",
											  "exclusiveMaximum",
											  "multipleOf",
											  "dependentRequired",
											  "dependentSchemas",
											  "dependencies",
											  "propertyNames",
											  "unevaluatedProperties",
											  "unevaluatedItems"};
	for (size_t i = 0; i < sizeof constraints / sizeof *constraints; i++)
		if (strcmp(keyword, constraints[i]) == 0)
			return true;
	return false;
}

static json_t *both(json_t *a, json_t *b)
{
	if (json_equal(a, b) || json_is_true(b))
		return json_incref(a);
	if (json_is_true(a))
		return json_incref(b);
	return json_pack("{s:[O, O]}", "allOf", a, b);
}

/* ---- single keywords ------------------------------------------------------------------------------------------- */

static json_t *larger(const json_t *a, const json_t *b, bool largest)
{
	const bool a_is = json_number_value(a) > json_number_value(b);
	return json_copy((json_t *)(uintptr_t)(a_is == largest ? a : b));
}

static json_t *merge_types(evn_schema *s, json_t *a, json_t *b)
{
	static const char *const names[] = {"null", "boolean", "integer", "number", "string", "array", "object"};
	unsigned x = 0, y = 0;
	json_t *wrap_a = json_pack("{s:O}", "type", a), *wrap_b = json_pack("{s:O}", "type", b), *list = json_array();
	const bool ok = evn_schema_types(s, wrap_a, &x) == EVN_OK && evn_schema_types(s, wrap_b, &y) == EVN_OK;
	json_decref(wrap_a);
	json_decref(wrap_b);
	x &= y;
	if (x & EVN_JSON_NUMBER)
		x &= ~(unsigned)EVN_JSON_INTEGER; /* "number" is both */
	for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
		if (x & 1u << i)
			json_array_append_new(list, json_string(names[i]));
	if (ok)
		return list;
	json_decref(list);
	return NULL;
}

static json_t *merge_enums(json_t *a, json_t *b)
{
	json_t *list = json_array();
	for (size_t i = 0; i < json_array_size(a); i++)
		for (size_t k = 0; k < json_array_size(b); k++)
			if (json_equal(json_array_get(a, i), json_array_get(b, k))) {
				json_array_append(list, json_array_get(a, i));
				break;
			}
	return list;
}

static json_t *merge_lists(json_t *a, json_t *b)
{
	json_t *list = json_copy(a);
	json_array_extend(list, b);
	return list;
}

/* Each alternative of one with each of the other. */
static json_t *merge_branches(json_t *a, json_t *b)
{
	json_t *list = json_array();
	if (json_array_size(a) * json_array_size(b) > EVN_SCHEMA_MAX_BRANCHES) {
		json_decref(list);
		return NULL;
	}
	for (size_t i = 0; i < json_array_size(a); i++)
		for (size_t k = 0; k < json_array_size(b); k++)
			json_array_append_new(list, both(json_array_get(a, i), json_array_get(b, k)));
	return list;
}

/* NULL: evener cannot say what satisfies both. */
static json_t *merge_keyword(evn_schema *s, const char *keyword, json_t *a, json_t *b)
{
	static const char *const largest[] = {"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"};
	static const char *const smallest[] = {"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"};
	for (size_t i = 0; i < sizeof largest / sizeof *largest; i++) {
		if (strcmp(keyword, largest[i]) == 0 && json_is_number(a) && json_is_number(b))
			return larger(a, b, true);
		if (strcmp(keyword, smallest[i]) == 0 && json_is_number(a) && json_is_number(b))
			return larger(a, b, false);
	}
	if (strcmp(keyword, "type") == 0)
		return merge_types(s, a, b);
	if (strcmp(keyword, "enum") == 0)
		return merge_enums(a, b);
	if (strcmp(keyword, "required") == 0 || strcmp(keyword, "allOf") == 0)
		return merge_lists(a, b);
	if (strcmp(keyword, "anyOf") == 0)
		return merge_branches(a, b);
	if ((strcmp(keyword, "items") == 0 && !json_is_array(a) && !json_is_array(b)) ||
		strcmp(keyword, "additionalProperties") == 0)
		return both(a, b);
	return json_equal(a, b) ? json_incref(a) : NULL;
}

/* ---- properties ------------------------------------------------------------------------------------------------ */

/* A name that only one lists has the other's additionalProperties as well. */
static void merge_properties(json_t *out, json_t *a, json_t *b)
{
	json_t *of_a = json_object_get(a, "properties"), *of_b = json_object_get(b, "properties"), *all = json_object();
	json_t *rest_a = json_object_get(a, "additionalProperties"), *rest_b = json_object_get(b, "additionalProperties");
	const char *name;
	json_t *value;
	json_object_foreach(of_a, name, value)
	{
		json_t *other = json_object_get(of_b, name);
		other = other ? other : rest_b ? rest_b : json_true();
		json_object_set_new(all, name, both(value, other));
	}
	json_object_foreach(of_b, name, value) if (!json_object_get(of_a, name))
		json_object_set_new(all, name, both(rest_a ? rest_a : json_true(), value));
	json_object_set_new(out, "properties", all);
}

/* const as an enum of one, and a reference as what it names. */
static json_t *prepare(evn_schema *s, json_t *schema)
{
	if (evn_schema_resolve(s, &schema) != EVN_OK)
		return NULL;
	if (json_is_boolean(schema))
		return schema;
	json_t *one = json_object_get(schema, "const");
	if (!one)
		return schema;
	json_t *copy = evn_schema_keep(s, json_copy(schema));
	json_object_del(copy, "const");
	json_object_set_new(copy, "enum", json_pack("[O]", one));
	return copy;
}

static evn_status merge_objects(evn_schema *s, json_t *a, json_t *b, json_t *out)
{
	const char *keyword;
	json_t *value;
	if (json_object_get(a, "properties") || json_object_get(b, "properties"))
		merge_properties(out, a, b);
	json_object_foreach(b, keyword, value)
	{
		json_t *own = json_object_get(a, keyword), *merged;
		if (strcmp(keyword, "properties") == 0 || !evn_schema_constrains(keyword))
			continue;
		merged = own ? merge_keyword(s, keyword, own, value) : json_incref(value);
		if (!merged)
			return evn_fail(s->err, EVN_ERR_UNSUPPORTED,
							"schema: expected one '%s' in what allOf combines, found two", keyword);
		json_object_set_new(out, keyword, merged);
	}
	if (json_object_get(out, "patternProperties") &&
		!(json_equal(json_object_get(a, "patternProperties"), json_object_get(b, "patternProperties"))))
		return evn_fail(s->err, EVN_ERR_UNSUPPORTED, "schema: expected no patternProperties in what allOf combines");
	return EVN_OK;
}

evn_status evn_schema_merge(evn_schema *s, json_t *a, json_t *b, json_t **out)
{
	a = a ? prepare(s, a) : NULL;
	b = b ? prepare(s, b) : NULL;
	*out = NULL;
	if (!a || !b)
		return s->err && s->err->code ? s->err->code : evn_fail_memory(s->err, "schema", 0);
	if (json_is_false(a) || json_is_true(b)) {
		*out = a;
		return EVN_OK;
	}
	if (json_is_false(b) || json_is_true(a)) {
		*out = b;
		return EVN_OK;
	}
	if (!json_is_object(a) || !json_is_object(b))
		return evn_schema_fail(s, "allOf", "schemas", json_is_object(a) ? b : a);
	*out = evn_schema_keep(s, json_copy(a));
	return *out ? merge_objects(s, a, b, *out) : evn_fail_memory(s->err, "schema", 0);
}

/* ---- what excludes each other ---------------------------------------------------------------------------------- */

enum { MAX_REJECTS_DEPTH = 8 };

static bool types_apart(evn_schema *s, json_t *a, json_t *b)
{
	unsigned x, y;
	return evn_schema_types(s, a, &x) == EVN_OK && evn_schema_types(s, b, &y) == EVN_OK &&
		   json_object_get(b, "type") && !(x & y);
}

/* The values of an enum or a const; NULL: neither. */
static json_t *values_of(json_t *schema)
{
	json_t *one = json_object_get(schema, "const");
	return one ? json_pack("[O]", one) : json_incref(json_object_get(schema, "enum"));
}

static bool values_apart(json_t *a, json_t *b)
{
	json_t *x = values_of(a), *y = values_of(b), *common = x && y ? merge_enums(x, y) : NULL;
	const bool apart = common && json_array_size(common) == 0;
	json_decref(x);
	json_decref(y);
	json_decref(common);
	return apart;
}

static bool requires(json_t *schema, const char *name)
{
	const json_t *list = json_object_get(schema, "required");
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *required = json_string_value(json_array_get(list, i));
		if (required && strcmp(required, name) == 0)
			return true;
	}
	return false;
}

/* A name that the one requires and the other never has. */
static bool lacks_required(json_t *a, json_t *b)
{
	const json_t *list = json_object_get(b, "required"), *others = json_object_get(a, "additionalProperties");
	static const char *const more[] = {"patternProperties", "allOf", "anyOf", "oneOf", "$ref"};
	for (size_t i = 0; i < sizeof more / sizeof *more; i++)
		if (json_object_get(a, more[i]))
			return false;
	if (!json_object_get(a, "properties") || (others && !json_is_false(others)))
		return false;
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *name = json_string_value(json_array_get(list, i));
		if (name && !json_object_get(json_object_get(a, "properties"), name) && !requires(a, name))
			return true;
	}
	return false;
}

static bool has_forbidden(json_t *a, json_t *b)
{
	const json_t *list = json_object_get(a, "required");
	if (!json_is_false(json_object_get(b, "additionalProperties")) || json_object_get(b, "patternProperties"))
		return false;
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *name = json_string_value(json_array_get(list, i));
		if (name && !json_object_get(json_object_get(b, "properties"), name))
			return true;
	}
	return false;
}

/* Objects of which one is always none of the other; it must be an object for that. */
static evn_status objects_apart(evn_schema *s, json_t *a, json_t *b, int depth, bool *rejects)
{
	unsigned type_of_a, type_of_b;
	const char *name;
	json_t *value;
	EVN_TRY(evn_schema_types(s, a, &type_of_a));
	EVN_TRY(evn_schema_types(s, b, &type_of_b));
	if (type_of_a != EVN_JSON_OBJECT)
		return EVN_OK;
	*rejects = lacks_required(a, b) || has_forbidden(a, b);
	json_object_foreach(json_object_get(a, "properties"), name, value)
	{
		json_t *other = json_object_get(json_object_get(b, "properties"), name);
		if (!*rejects && other && requires(a, name))
			EVN_TRY(evn_schema_rejects(s, value, other, depth + 1, rejects));
	}
	return EVN_OK;
}

evn_status evn_schema_rejects(evn_schema *s, json_t *a, json_t *b, int depth, bool *rejects)
{
	*rejects = false;
	EVN_TRY(evn_schema_resolve(s, &a));
	EVN_TRY(evn_schema_resolve(s, &b));
	if (!json_is_object(a) || !json_is_object(b) || depth > MAX_REJECTS_DEPTH)
		return EVN_OK;
	*rejects = types_apart(s, a, b) || values_apart(a, b);
	return *rejects ? EVN_OK : objects_apart(s, a, b, depth, rejects);
}
