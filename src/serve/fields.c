/* fields.c - see fields.h. */
#include "serve/fields.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SHOWN = 40 };
#define MOST_EXACT 9007199254740992.0 /* 2^53: further integers are not told apart as doubles */

static void describe(char *to, size_t size, const json_t *v)
{
	switch (json_typeof(v)) {
	case JSON_OBJECT:
		snprintf(to, size, "an object");
		break;
	case JSON_ARRAY:
		snprintf(to, size, "an array of %zu", json_array_size(v));
		break;
	case JSON_STRING:
		snprintf(to, size, "the string \"%.*s\"%s", MAX_SHOWN, json_string_value(v),
				 json_string_length(v) > MAX_SHOWN ? "..." : "");
		break;
	case JSON_INTEGER:
		snprintf(to, size, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
		break;
	case JSON_REAL:
		snprintf(to, size, "%.9g", json_real_value(v));
		break;
	case JSON_TRUE:
	case JSON_FALSE:
		snprintf(to, size, "%s", json_is_true(v) ? "true" : "false");
		break;
	case JSON_NULL:
		snprintf(to, size, "null");
	}
}

bool fields_wrong(problem *p, const char *name, const char *expected, const json_t *found)
{
	char value[4 * MAX_SHOWN];
	describe(value, sizeof value, found);
	return problem_set(p, 400, NULL, name, "%s: expected %s, found %s", name, expected, value);
}

bool fields_whole(const json_t *v, json_int_t *to)
{
	const double real = json_number_value(v);
	*to = 0;
	if (json_is_integer(v))
		*to = json_integer_value(v);
	else if (json_is_real(v) && fabs(real) <= MOST_EXACT && real == trunc(real))
		*to = (json_int_t)real;
	else
		return false;
	return true;
}

static bool read_int(const field *f, const json_t *v, int64_t *to, problem *p)
{
	char expected[96];
	json_int_t value;
	if (fields_whole(v, &value) && (double)value >= f->min && (double)value <= f->max) {
		*to = value;
		return true;
	}
	snprintf(expected, sizeof expected, "an integer from %.0f to %.0f", f->min, f->max);
	return fields_wrong(p, f->name, expected, v);
}

static bool read_real(const field *f, const json_t *v, double *to, problem *p)
{
	char expected[96];
	double value = json_number_value(v);
	if (json_is_number(v) && value >= f->min && value <= f->max) {
		*to = value;
		return true;
	}
	snprintf(expected, sizeof expected, "a number from %.9g to %.9g", f->min, f->max);
	return fields_wrong(p, f->name, expected, v);
}

static bool read_field(const field *f, json_t *v, void *target, problem *p)
{
	void *to = (char *)target + f->offset;
	switch (f->kind) {
	case FIELD_BOOL:
		if (!json_is_boolean(v))
			return fields_wrong(p, f->name, "true or false", v);
		*(bool *)to = json_is_true(v);
		return true;
	case FIELD_INT:
		return read_int(f, v, to, p);
	case FIELD_REAL:
		return read_real(f, v, to, p);
	case FIELD_TEXT:
		if (!json_is_string(v))
			return fields_wrong(p, f->name, "a string", v);
		*(const char **)to = json_string_value(v);
		return true;
	case FIELD_ANY:
		if (f->read)
			return f->read(target, f->name, v, p);
		*(json_t **)to = v;
		return true;
	}
	return true;
}

bool fields_read(const field *fields, unsigned uses, json_t *object, void *target, problem *p)
{
	for (const field *f = fields; f->name; f++) {
		json_t *v = f->uses & uses ? json_object_get(object, f->name) : NULL;
		if (v && !json_is_null(v) && !read_field(f, v, target, p))
			return false;
	}
	return true;
}

bool fields_ids(int32_t **out, size_t *n, const char *name, json_t *array, problem *p)
{
	*n = json_array_size(array);
	*out = malloc((*n + 1) * sizeof **out);
	if (!*out)
		return problem_set(p, 500, NULL, NULL, "out of memory");
	for (size_t i = 0; i < *n; i++) {
		json_t *id = json_array_get(array, i);
		json_int_t value;
		if (!fields_whole(id, &value) || value < 0 || value > INT32_MAX)
			return fields_wrong(p, name, "token ids", id);
		(*out)[i] = (int32_t)value;
	}
	return true;
}

bool fields_parse(json_t **out, const char *body, size_t bytes, problem *p)
{
	json_error_t e;
	*out = bytes ? json_loadb(body, bytes, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &e) : NULL;
	if (bytes == 0)
		return problem_set(p, 400, NULL, NULL, "the body is empty, expected a JSON object");
	if (!*out)
		return problem_set(p, 400, NULL, NULL, "the body is no JSON: %s (line %d, column %d)", e.text, e.line,
						   e.column);
	if (json_is_object(*out))
		return true;
	fields_wrong(p, "body", "a JSON object", *out);
	*p->param = 0;
	json_decref(*out);
	*out = NULL;
	return false;
}

bool fields_is_type(const json_t *object, const char *type)
{
	const char *word = json_string_value(json_object_get(object, "type"));
	return word && strcmp(word, type) == 0;
}
