/* fill.c - see fill.h. */
#include "cli/batch/fill.h"
#include "base/base.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHOWN 40
#define NAME_CHARACTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"

/* Owns text. */
static evn_status add_part(text_template *t, bool is_field, char *text, evn_error *err)
{
	template_part *more = text ? realloc(t->parts, (t->n + 1) * sizeof *more) : NULL;
	if (!more) {
		free(text);
		return evn_fail_memory(err, "the template", 0);
	}
	t->parts = more;
	t->parts[t->n++] = (template_part){is_field, text};
	return EVN_OK;
}

/* Reads the field at *at, which begins with a brace, and moves behind it. */
static evn_status read_field(text_template *t, const char **at, evn_error *err)
{
	const char *name = *at + 1;
	size_t n = strspn(name, NAME_CHARACTERS);
	if (n == 0 || name[n] != '}')
		return evn_fail(err, EVN_ERR_USAGE,
						"'%.*s': expected a field such as {text}; a brace that is meant as such is written {{", SHOWN,
						*at);
	*at = name + n + 1;
	return add_part(t, true, evn_format("%.*s", (int)n, name), err);
}

/* Reads text as it is, up to the next field, and moves behind it. */
static evn_status read_text(text_template *t, const char **at, evn_error *err)
{
	char *text = malloc(strlen(*at) + 1), *end = text;
	if (!text)
		return evn_fail_memory(err, "the template", 0);
	const char *from = *at;
	while (*from) {
		bool is_brace = *from == '{' || *from == '}';
		if (is_brace && from[1] != *from && *from == '{')
			break;
		if (is_brace && from[1] != *from) {
			free(text);
			return evn_fail(err, EVN_ERR_USAGE, "'%.*s': a brace without a beginning; as a text it is written }}",
							SHOWN, from);
		}
		*end++ = *from;
		from += is_brace ? 2 : 1;
	}
	*end = 0;
	*at = from;
	return add_part(t, false, text, err);
}

evn_status template_read(text_template *t, const char *source, evn_error *err)
{
	*t = (text_template){0};
	while (*source)
		EVN_TRY(*source == '{' && source[1] != '{' ? read_field(t, &source, err) : read_text(t, &source, err));
	return EVN_OK;
}

void template_free(text_template *t)
{
	for (size_t i = 0; i < t->n; i++)
		free(t->parts[i].text);
	free(t->parts);
	*t = (text_template){0};
}

const char *template_other_field(const text_template *t, const char *known)
{
	for (size_t i = 0; i < t->n; i++)
		if (t->parts[i].is_field && strcmp(t->parts[i].text, known) != 0)
			return t->parts[i].text;
	return NULL;
}

static evn_status write_field(FILE *out, const char *name, const json_t *value, evn_error *err)
{
	if (!value)
		return evn_fail(err, EVN_ERR_USAGE, "the template's field {%s} is missing", name);
	if (json_is_string(value))
		fwrite(json_string_value(value), 1, json_string_length(value), out);
	else if (json_is_number(value) || json_is_boolean(value))
		json_dumpf(value, out, JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
	else
		return evn_fail(err, EVN_ERR_USAGE,
						"the template's field {%s} is %s, expected a text, a number, true or false", name,
						json_is_object(value)  ? "an object"
						: json_is_array(value) ? "a list"
											   : "null");
	return EVN_OK;
}

static evn_status write_parts(FILE *out, filled_text *f, const text_template *t, const json_t *fields, evn_error *err)
{
	for (size_t i = 0; i < t->n; i++) {
		const template_part *part = &t->parts[i];
		if (!part->is_field) {
			fputs(part->text, out);
			continue;
		}
		size_t begin = (size_t)ftell(out);
		EVN_TRY(write_field(out, part->text, json_object_get(fields, part->text), err));
		f->fields[f->n_fields++] = (text_range){begin, (size_t)ftell(out)};
	}
	return EVN_OK;
}

evn_status template_fill(filled_text *out, const text_template *t, const json_t *fields, evn_error *err)
{
	*out = (filled_text){.fields = calloc(t->n + 1, sizeof *out->fields)};
	FILE *f = out->fields ? open_memstream(&out->text, &out->bytes) : NULL;
	if (!f)
		return evn_fail_memory(err, "a prompt", 0);
	evn_status status = write_parts(f, out, t, fields, err);
	bool written = !ferror(f);
	if (fclose(f) != 0 || !written)
		return evn_fail_memory(err, "a prompt", 0);
	return status;
}

void filled_text_free(filled_text *f)
{
	free(f->text);
	free(f->fields);
	*f = (filled_text){0};
}
