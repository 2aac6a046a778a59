/* schema_object.c - objects: the members of `properties` in their order, then those with other names. */
#include <stdlib.h>
#include <string.h>

#include "grammar/dfa.h"
#include "grammar/schema.h"

enum { MAX_MEMBERS = 4096, MAX_PATTERNS = 16, MAX_COUNTED = 256 };

typedef struct {
	const char *name;
	json_t *schema;
	bool required;
} member;

/* Members whose names are not listed: those of a pattern, or all others. */
typedef struct {
	const char *pattern; /* NULL: the others */
	json_t *schema;
	evn_dfa names;
	uint32_t rule; /* of a member: name and value */
} family;

typedef struct {
	member *members;
	family families[MAX_PATTERNS + 1];
	size_t n_members, n_families, n_required;
	uint64_t min, max; /* of members */
	uint32_t cap;      /* counts from here on are one */
} object;

/* ---- reading --------------------------------------------------------------------------------------------------- */

static bool is_required(const json_t *required, const char *name)
{
	for (size_t i = 0; i < json_array_size(required); i++) {
		const json_t *v = json_array_get(required, i);
		if (json_is_string(v) && strcmp(json_string_value(v), name) == 0)
			return true;
	}
	return false;
}

static void add_member(object *o, const char *name, json_t *schema, bool required)
{
	o->members[o->n_members++] = (member){name, schema, required};
	o->n_required += required;
}

/* A name that is required and not listed has the schema of the other names. */
static evn_status read_members(evn_schema *s, json_t *schema, object *o)
{
	json_t *properties = json_object_get(schema, "properties"), *required = json_object_get(schema, "required");
	json_t *others = json_object_get(schema, "additionalProperties");
	const size_t n = json_object_size(properties) + (json_is_array(required) ? json_array_size(required) : 0);
	const char *name;
	json_t *value;
	if (properties && !json_is_object(properties))
		return evn_schema_fail(s, "properties", "an object", properties);
	if (n > MAX_MEMBERS)
		return evn_fail(s->err, EVN_ERR_LIMIT, "schema: an object has more than %d properties", MAX_MEMBERS);
	o->members = calloc(n + 1, sizeof *o->members);
	if (!o->members)
		return evn_fail_memory(s->err, "schema", n * sizeof *o->members);
	json_object_foreach(properties, name, value) add_member(o, name, value, is_required(required, name));
	for (size_t i = 0; json_is_array(required) && i < json_array_size(required); i++) {
		name = json_string_value(json_array_get(required, i));
		bool known = !name;
		for (size_t k = 0; k < o->n_members && !known; k++)
			known = strcmp(o->members[k].name, name) == 0;
		if (!known)
			add_member(o, name, others ? others : json_true(), true);
	}
	return EVN_OK;
}

/* Without additionalProperties other names are valid, but only an object that lists no names at all gets them. */
static evn_status read_families(evn_schema *s, json_t *schema, object *o)
{
	json_t *patterns = json_object_get(schema, "patternProperties");
	json_t *others = json_object_get(schema, "additionalProperties");
	const char *pattern;
	json_t *value;
	if (json_object_size(patterns) > MAX_PATTERNS)
		return evn_fail(s->err, EVN_ERR_LIMIT, "schema: patternProperties: more than %d patterns", MAX_PATTERNS);
	json_object_foreach(patterns, pattern, value) o->families[o->n_families++] =
		(family){.pattern = pattern, .schema = value};
	if (!others && !patterns && !json_object_size(json_object_get(schema, "properties")))
		others = json_true();
	if (others && !json_is_false(others))
		o->families[o->n_families++] = (family){.schema = others};
	return EVN_OK;
}

/* ---- names of families ----------------------------------------------------------------------------------------- */

static evn_status exclude_pattern(evn_schema *s, evn_dfa *d, const char *pattern)
{
	evn_dfa other;
	EVN_TRY(evn_dfa_of_regex(&other, pattern, strlen(pattern), true, s->err));
	const evn_status status = evn_dfa_join(d, &other, true, s->err);
	evn_dfa_free(&other);
	return status;
}

static evn_status exclude_members(evn_schema *s, evn_dfa *d, const object *o)
{
	evn_net n = {0};
	evn_dfa names = {0};
	n.root = evn_net_rule(&n);
	for (size_t i = 0; i < o->n_members && n.status == EVN_OK; i++) {
		const uint32_t to = evn_net_text(&n, n.rules[0].start, o->members[i].name, strlen(o->members[i].name));
		evn_net_empty(&n, to, n.rules[0].end);
	}
	evn_status status = o->n_members ? evn_net_finish(&n, NULL, NULL, s->err) : EVN_OK;
	if (status == EVN_OK && o->n_members)
		status = evn_dfa_create(&names, &n, s->err);
	if (status == EVN_OK && o->n_members)
		status = evn_dfa_join(d, &names, true, s->err);
	evn_dfa_free(&names);
	evn_net_free(&n);
	return status;
}

/* A name that two patterns match is left out, and so is one that is listed. */
static evn_status make_names(evn_schema *s, object *o, family *f)
{
	static const char some[] = "^[^\\x00-\\x1f]+$";
	const char *regex = f->pattern ? f->pattern : some;
	EVN_TRY(evn_dfa_of_regex(&f->names, regex, strlen(regex), true, s->err));
	for (size_t i = 0; i < o->n_families; i++)
		if (&o->families[i] != f && o->families[i].pattern)
			EVN_TRY(exclude_pattern(s, &f->names, o->families[i].pattern));
	EVN_TRY(exclude_members(s, &f->names, o));
	return evn_dfa_escape(&f->names, s->err);
}

/* A listed name that a pattern matches satisfies both schemas. */
static evn_status combine_patterns(evn_schema *s, object *o)
{
	for (size_t f = 0; f < o->n_families && o->families[f].pattern; f++) {
		const char *pattern = o->families[f].pattern;
		evn_dfa names;
		EVN_TRY(evn_dfa_of_regex(&names, pattern, strlen(pattern), true, s->err));
		evn_status status = EVN_OK;
		for (size_t i = 0; i < o->n_members && status == EVN_OK; i++)
			if (evn_dfa_accepts(&names, o->members[i].name, strlen(o->members[i].name)))
				status = evn_schema_merge(s, o->members[i].schema, o->families[f].schema, &o->members[i].schema);
		evn_dfa_free(&names);
		EVN_TRY(status);
	}
	return EVN_OK;
}

static evn_status make_family(evn_schema *s, object *o, family *f)
{
	uint32_t to = 0;
	EVN_TRY(make_names(s, o, f));
	f->rule = evn_net_rule(s->net);
	if (s->net->status != EVN_OK)
		return EVN_OK;
	const evn_rule rule = s->net->rules[f->rule];
	uint32_t at = evn_net_text(s->net, rule.start, "\"", 1);
	at = evn_net_text(s->net, evn_dfa_add(&f->names, s->net, at), "\":", 2);
	EVN_TRY(evn_schema_add(s, f->schema, evn_schema_space(s, at), &to));
	evn_net_empty(s->net, to, rule.end);
	return EVN_OK;
}

/* ---- how many -------------------------------------------------------------------------------------------------- */

/* Two members may have the same name only where a family writes names, and then they count as one. So a family counts
 * for the first member only. */
static evn_status read_counts(evn_schema *s, json_t *schema, object *o)
{
	o->max = UINT64_MAX;
	EVN_TRY(evn_schema_count(s, schema, "minProperties", &o->min));
	EVN_TRY(evn_schema_count(s, schema, "maxProperties", &o->max));
	if (o->min <= o->n_required)
		o->min = 0;
	if (!o->n_families && o->max >= o->n_members)
		o->max = UINT64_MAX;
	if (o->min > 1 && o->n_families)
		return evn_fail(s->err, EVN_ERR_UNSUPPORTED,
						"schema: minProperties: expected at most 1 more than are required, or no additional "
						"properties, found %llu",
						(unsigned long long)o->min);
	if (o->max != UINT64_MAX && o->max > MAX_COUNTED)
		o->max = MAX_COUNTED; /* fewer are valid too */
	if (o->min > MAX_COUNTED)
		return evn_fail(s->err, EVN_ERR_LIMIT, "schema: minProperties is more than %d, which is the limit",
						MAX_COUNTED);
	o->cap = (uint32_t)(o->max != UINT64_MAX ? o->max : o->min > 1 ? o->min : 1);
	return EVN_OK;
}

/* ---- the network ----------------------------------------------------------------------------------------------- */

/* states[c]: so many members are written, the last for cap and more. */
typedef struct {
	uint32_t states[MAX_COUNTED + 1];
} counts;

/* Ways from each count to the next, through what `value` adds: a name and a value. */
typedef evn_status (*add_value)(evn_schema *s, const void *what, uint32_t from, uint32_t *to);

static evn_status add_counted(evn_schema *s, const object *o, const counts *from, const counts *to, add_value add,
							  const void *what)
{
	for (uint32_t c = 1; c <= o->cap; c++) {
		const uint32_t begin = evn_net_state(s->net);
		uint32_t end;
		const uint32_t before = from->states[c - 1], again = from->states[c];
		if (c == 1)
			evn_net_empty(s->net, before, begin);
		else
			evn_net_empty(s->net, evn_schema_space(s, evn_net_text(s->net, before, ",", 1)), begin);
		if (c == o->cap && o->max == UINT64_MAX)
			evn_net_empty(s->net, evn_schema_space(s, evn_net_text(s->net, again, ",", 1)), begin);
		EVN_TRY(add(s, what, begin, &end));
		evn_net_empty(s->net, end, to->states[c]);
	}
	return EVN_OK;
}

static counts new_counts(evn_schema *s, const object *o)
{
	counts c = {{0}};
	for (uint32_t i = 0; i <= o->cap; i++)
		c.states[i] = evn_net_state(s->net);
	return c;
}

static evn_status write_member(evn_schema *s, const void *what, uint32_t from, uint32_t *to)
{
	const member *m = what;
	json_t *text = json_string(m->name);
	char *name = text ? json_dumps(text, JSON_ENCODE_ANY) : NULL;
	json_decref(text);
	if (!name)
		return evn_fail_memory(s->err, "schema", 0);
	from = evn_net_text(s->net, evn_net_text(s->net, from, name, strlen(name)), ":", 1);
	free(name);
	return evn_schema_add(s, m->schema, evn_schema_space(s, from), to);
}

static evn_status write_family(evn_schema *s, const void *what, uint32_t from, uint32_t *to)
{
	*to = evn_net_call(s->net, from, ((const family *)what)->rule);
	return EVN_OK;
}

static evn_status write_object(evn_schema *s, object *o, uint32_t from, uint32_t *to)
{
	const uint32_t closing = evn_net_state(s->net);
	counts at = new_counts(s, o);
	const uint32_t opened = evn_net_text(s->net, from, "{", 1);
	evn_net_empty(s->net, evn_schema_space(s, opened), at.states[0]);
	for (size_t i = 0; i < o->n_members; i++) {
		const counts next = new_counts(s, o);
		EVN_TRY(add_counted(s, o, &at, &next, write_member, &o->members[i]));
		for (uint32_t c = 0; c <= o->cap && !o->members[i].required; c++)
			evn_net_empty(s->net, at.states[c], next.states[c]);
		at = next;
	}
	for (size_t i = 0; i < o->n_families; i++)
		EVN_TRY(add_counted(s, o, &at, &at, write_family, &o->families[i]));
	*to = evn_net_state(s->net);
	for (uint32_t c = (uint32_t)o->min; c <= o->cap; c++)
		evn_net_empty(s->net, c ? evn_schema_space(s, at.states[c]) : at.states[c], closing);
	evn_net_empty(s->net, evn_net_text(s->net, closing, "}", 1), *to);
	return EVN_OK;
}

static evn_status read_object(evn_schema *s, json_t *schema, object *o)
{
	EVN_TRY(read_members(s, schema, o));
	EVN_TRY(read_families(s, schema, o));
	EVN_TRY(read_counts(s, schema, o));
	EVN_TRY(combine_patterns(s, o));
	for (size_t i = 0; i < o->n_families; i++)
		EVN_TRY(make_family(s, o, &o->families[i]));
	return EVN_OK;
}

evn_status evn_schema_object(evn_schema *s, json_t *schema, uint32_t from, uint32_t *to)
{
	object *o = calloc(1, sizeof *o);
	if (!o)
		return evn_fail_memory(s->err, "schema", sizeof *o);
	evn_status status = read_object(s, schema, o);
	if (status == EVN_OK)
		status = write_object(s, o, from, to);
	for (size_t i = 0; i < o->n_families; i++)
		evn_dfa_free(&o->families[i].names);
	free(o->members);
	free(o);
	return status;
}
