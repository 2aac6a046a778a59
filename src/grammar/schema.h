/* schema.h - JSON Schema as a network: a text of the network is valid by the schema. Not every valid text is one:
 * members have the order of `properties`, white space is limited, and so are digits and escapes (docs/serve.md). */
#ifndef EVN_GRAMMAR_SCHEMA_H
#define EVN_GRAMMAR_SCHEMA_H

#include "grammar/net.h"
#include <jansson.h>

#define EVN_SCHEMA_MAX_DEPTH 64     /* of schemas within schemas */
#define EVN_SCHEMA_MAX_BRANCHES 256 /* of anyOf, also where several are combined */

/* Fills in an empty network and finishes it. */
evn_status evn_schema_read(evn_net *n, const char *text, size_t length, evn_error *err);
/* Any JSON object. */
evn_status evn_schema_any_object(evn_net *n, evn_error *err);

/* Adds a value of the schema to a network; `root` is where references begin. The network is not finished. */
evn_status evn_schema_add_to(evn_net *n, json_t *schema, json_t *root, uint32_t from, uint32_t *to, evn_error *err);

/* ---- parts ----------------------------------------------------------------------------------------------------- */

/* A schema that is a rule already, because $ref names it. */
typedef struct {
	const json_t *schema;
	uint32_t rule;
} evn_schema_rule;

typedef struct {
	evn_net *net;
	json_t *root, *made; /* made: an array of schemas that were combined */
	evn_schema_rule *rules;
	size_t n_rules, rules_room;
	uint32_t space, character, value, object; /* rules; EVN_NET_NONE until one is needed */
	int depth;
	evn_error *err;
} evn_schema;

/* Adds a value of the schema. */
evn_status evn_schema_add(evn_schema *s, json_t *schema, uint32_t from, uint32_t *to);
evn_status evn_schema_rule_of(evn_schema *s, json_t *schema, uint32_t *rule); /* a new one */
evn_status evn_schema_fail(evn_schema *s, const char *keyword, const char *expected, const json_t *found);
evn_status evn_schema_resolve(evn_schema *s, json_t **schema); /* follows $ref */
uint32_t evn_schema_space(evn_schema *s, uint32_t from);
uint32_t evn_schema_value(evn_schema *s, uint32_t from); /* any */
uint32_t evn_schema_character(evn_schema *s);            /* the rule of a character in a string */
json_t *evn_schema_keep(evn_schema *s, json_t *made);    /* owns it; NULL: no memory */
/* A count such as minItems; as it was, if there is none. */
evn_status evn_schema_count(evn_schema *s, json_t *schema, const char *keyword, uint64_t *count);

evn_status evn_schema_string(evn_schema *s, json_t *schema, uint32_t from, uint32_t *to);
evn_status evn_schema_number(evn_schema *s, json_t *schema, bool integer, uint32_t from, uint32_t *to);
evn_status evn_schema_array(evn_schema *s, json_t *schema, uint32_t from, uint32_t *to);
evn_status evn_schema_object(evn_schema *s, json_t *schema, uint32_t from, uint32_t *to);
evn_status evn_schema_enum(evn_schema *s, json_t *schema, uint32_t from, uint32_t *to);

/* Bits of types. */
enum {
	EVN_JSON_NULL = 1,
	EVN_JSON_BOOLEAN = 2,
	EVN_JSON_INTEGER = 4,
	EVN_JSON_NUMBER = 8, /* those that are no integers; "number" is both */
	EVN_JSON_STRING = 16,
	EVN_JSON_ARRAY = 32,
	EVN_JSON_OBJECT = 64,
	EVN_JSON_ANY = 127,
};
evn_status evn_schema_types(evn_schema *s, json_t *schema, unsigned *types);
unsigned evn_schema_type_of(const json_t *value);
bool evn_schema_constrains(const char *keyword); /* else it is an annotation */

/* What satisfies both. *out is kept. */
evn_status evn_schema_merge(evn_schema *s, json_t *a, json_t *b, json_t **out);
/* Whether no text that is written for a satisfies b. False: it may. */
evn_status evn_schema_rejects(evn_schema *s, json_t *a, json_t *b, int depth, bool *rejects);

#endif
