/* schema_enum.c - the values of an enum or a const. Those that the keywords beside it do not allow are left out. */
#include <stdlib.h>
#include <string.h>

#include "grammar/schema.h"

typedef struct {
	evn_schema *s;
	json_t *schema;
	const json_t *value;
	bool fits;
} candidate;

/* Keywords for values of these types. What is not looked at here is refused: to ignore it would be wrong. */
typedef struct {
	const char *keyword;
	unsigned types;
	void (*check)(candidate *c, const json_t *operand); /* NULL: refused */
} restriction;

static double count_characters(const json_t *string)
{
	const char *text = json_string_value(string);
	double n = 0;
	for (size_t i = 0; i < json_string_length(string); i++)
		n += ((unsigned char)text[i] & 0xc0) != 0x80;
	return n;
}

/* What minLength, minItems and the like count; of a number, its value. */
static double size_of(const json_t *v)
{
	return json_is_string(v)   ? count_characters(v)
		   : json_is_array(v)  ? (double)json_array_size(v)
		   : json_is_object(v) ? (double)json_object_size(v)
							   : json_number_value(v);
}

static void at_least(candidate *c, const json_t *operand)
{
	c->fits &= size_of(c->value) >= json_number_value(operand);
}
static void at_most(candidate *c, const json_t *operand)
{
	c->fits &= size_of(c->value) <= json_number_value(operand);
}

/* Draft 4 has a boolean here, for the limit beside it. */
static void above(candidate *c, const json_t *operand)
{
	const json_t *limit = json_is_boolean(operand) ? json_object_get(c->schema, "minimum") : operand;
	c->fits &= json_is_false(operand) || !limit || json_number_value(c->value) > json_number_value(limit);
}

static void below(candidate *c, const json_t *operand)
{
	const json_t *limit = json_is_boolean(operand) ? json_object_get(c->schema, "maximum") : operand;
	c->fits &= json_is_false(operand) || !limit || json_number_value(c->value) < json_number_value(limit);
}

static void has_names(candidate *c, const json_t *operand)
{
	for (size_t i = 0; i < json_array_size(operand); i++) {
		const char *name = json_string_value(json_array_get(operand, i));
		c->fits &= name && json_object_get(c->value, name);
	}
}

#define NUMBERS (EVN_JSON_INTEGER | EVN_JSON_NUMBER)
static const restriction restrictions[] = {
	{"minLength", EVN_JSON_STRING, at_least},
	{"maxLength", EVN_JSON_STRING, at_most},
	{"pattern", EVN_JSON_STRING, NULL},
	{"format", EVN_JSON_STRING, NULL},
	{"minimum", NUMBERS, at_least},
	{"maximum", NUMBERS, at_most},
	{"exclusiveMinimum", NUMBERS, above},
	{"exclusiveMaximum", NUMBERS, below},
	{"multipleOf", NUMBERS, NULL},
	{"minItems", EVN_JSON_ARRAY, at_least},
	{"maxItems", EVN_JSON_ARRAY, at_most},
	{"items", EVN_JSON_ARRAY, NULL},
	{"prefixItems", EVN_JSON_ARRAY, NULL},
	{"additionalItems", EVN_JSON_ARRAY, NULL},
	{"minProperties", EVN_JSON_OBJECT, at_least},
	{"maxProperties", EVN_JSON_OBJECT, at_most},
	{"required", EVN_JSON_OBJECT, has_names},
	{"properties", EVN_JSON_OBJECT, NULL},
	{"additionalProperties", EVN_JSON_OBJECT, NULL},
	{"patternProperties", EVN_JSON_OBJECT, NULL},
};

static evn_status check(candidate *c)
{
	const unsigned type = evn_schema_type_of(c->value);
	for (size_t i = 0; i < sizeof restrictions / sizeof *restrictions; i++) {
		const restriction *r = &restrictions[i];
		const json_t *operand = json_object_get(c->schema, r->keyword);
		if (!operand || !(r->types & type))
			continue;
		if (!r->check)
			return evn_fail(c->s->err, EVN_ERR_UNSUPPORTED, "schema: expected an enum without '%s' beside it",
							r->keyword);
		r->check(c, operand);
	}
	return EVN_OK;
}

static bool is_listed(const json_t *list, const json_t *value)
{
	for (size_t i = 0; i < json_array_size(list); i++)
		if (json_equal(json_array_get(list, i), value))
			return true;
	return !list;
}

static evn_status add_literal(evn_schema *s, const json_t *value, uint32_t from, uint32_t to)
{
	char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
	if (!text)
		return evn_fail_memory(s->err, "schema", 0);
	evn_net_empty(s->net, evn_net_text(s->net, from, text, strlen(text)), to);
	free(text);
	return EVN_OK;
}

/* A const is an enum of one. */
evn_status evn_schema_enum(evn_schema *s, json_t *schema, uint32_t from, uint32_t *to)
{
	const json_t *list = json_object_get(schema, "enum"), *one = json_object_get(schema, "const");
	unsigned types = EVN_JSON_ANY;
	*to = evn_net_state(s->net);
	if (json_object_get(schema, "type"))
		EVN_TRY(evn_schema_types(s, schema, &types));
	if (list && !json_is_array(list))
		return evn_schema_fail(s, "enum", "an array", list);
	for (size_t i = 0; i < (one ? 1 : json_array_size(list)); i++) {
		candidate c = {s, schema, one ? one : json_array_get(list, i), true};
		if (!(evn_schema_type_of(c.value) & types) || !is_listed(list, c.value))
			continue;
		EVN_TRY(check(&c));
		if (c.fits)
			EVN_TRY(add_literal(s, c.value, from, *to));
	}
	return EVN_OK;
}
