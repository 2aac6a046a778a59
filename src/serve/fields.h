/* fields.h - reads a JSON object into a struct by a table of fields. A field that is missing or null leaves its
 * target as it is; a field that no row names is ignored, as other servers do. A value of another type or out of range
 * is a problem that names the field, what was expected and what was found. */
#ifndef EVN_SERVE_FIELDS_H
#define EVN_SERVE_FIELDS_H

#include "serve/reply.h"

typedef enum {
	FIELD_BOOL,
	FIELD_INT,  /* int64_t */
	FIELD_REAL, /* double; any number in JSON */
	FIELD_TEXT, /* const char *, as long as the JSON lives */
	FIELD_ANY,  /* json_t *, borrowed; or what `read` makes of it */
} field_kind;

typedef struct {
	const char *name;
	unsigned uses; /* read only if it shares a bit with what is asked for */
	field_kind kind;
	size_t offset; /* in the struct */
	double min, max;
	bool (*read)(void *target, const char *name, json_t *value, problem *p); /* FIELD_ANY; target: the struct */
} field;

/* fields ends with a NULL name. */
bool fields_read(const field *fields, unsigned uses, json_t *object, void *target, problem *p);
/* The bytes of a body as a JSON object; the caller owns it. */
bool fields_parse(json_t **out, const char *body, size_t bytes, problem *p);
/* v is an integer. So is 3.0, which some programs write for 3. */
bool fields_whole(const json_t *v, json_int_t *to);
/* An array of token ids, malloc'd; the caller frees it also if this fails. */
bool fields_ids(int32_t **out, size_t *n, const char *name, json_t *array, problem *p);
/* The object says {"type": type}. */
bool fields_is_type(const json_t *object, const char *type);
/* "name: expected WHAT, found VALUE", as a 400. */
bool fields_wrong(problem *p, const char *name, const char *expected, const json_t *found);

#endif
