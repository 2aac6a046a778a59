#include "cli/commands/records.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_COLUMNS 1024u

typedef struct {
	char *at, *end;
	const char *file;
	size_t line; /* of the last field that was read */
	bool at_newline;
	char *fields[MOST_COLUMNS];
	uint32_t n_fields;
} reader;

/* Takes the quotes off; field begins behind the first one. Returns where the next field or line begins. */
static char *read_quoted(reader *r, char *field)
{
	char *to = field, *from = field;
	for (; from < r->end; from++) {
		r->line += *from == '\n';
		if (*from != '"')
			*to++ = *from;
		else if (from + 1 < r->end && from[1] == '"')
			*to++ = *from++;
		else
			break;
	}
	if (from == r->end)
		return NULL;
	*to = '\0';
	return from + 1;
}

/* The fields of the next line. False at the end. */
static evn_status read_row(reader *r, bool *any, evn_error *err)
{
	r->n_fields = 0;
	r->line += r->at_newline;
	r->at_newline = false;
	while (r->at < r->end && (*r->at == '\n' || *r->at == '\r'))
		r->line += *r->at++ == '\n';
	*any = r->at < r->end;
	for (bool more = *any; more;) {
		if (r->n_fields == MOST_COLUMNS)
			return evn_fail(err, EVN_ERR_LIMIT, "%s: line %zu has more than %u fields", r->file, r->line,
							MOST_COLUMNS);
		const bool quoted = *r->at == '"';
		char *field = r->at + quoted, *stop = field;
		const size_t line = r->line;
		if (quoted && !(stop = read_quoted(r, field)))
			return evn_fail(err, EVN_ERR_FORMAT, "%s: the quoted field that begins in line %zu has no end", r->file,
							line);
		if (!quoted)
			stop += strcspn(stop, ",\n");
		if (stop < r->end && !strchr(",\r\n", *stop))
			return evn_fail(err, EVN_ERR_FORMAT, "%s: line %zu: expected a comma behind a quoted field", r->file,
							r->line);
		more = stop < r->end && *stop == ',';
		r->at_newline = stop < r->end && *stop == '\n';
		r->at = stop < r->end ? stop + 1 : r->end;
		if (!quoted && stop > field && stop[-1] == '\r')
			stop--;
		*stop = '\0';
		r->fields[r->n_fields++] = field;
	}
	return EVN_OK;
}

typedef struct {
	char *names[MOST_COLUMNS];
	uint32_t n, label, image; /* label, image: n if there is none */
} columns;

static evn_status read_names(columns *c, reader *r, const char *label, bool labelled, evn_error *err)
{
	bool any;
	EVN_TRY(read_row(r, &any, err));
	if (!any)
		return evn_fail(err, EVN_ERR_FORMAT, "%s: empty, expected a line with the names of the columns", r->file);
	memcpy(c->names, r->fields, r->n_fields * sizeof *r->fields);
	c->n = c->label = c->image = r->n_fields;
	for (uint32_t i = 0; i < c->n; i++)
		c->image = !strcmp(c->names[i], "image") ? i : c->image;
	for (uint32_t i = 0; i < c->n && label; i++)
		c->label = !strcmp(c->names[i], label) ? i : c->label;
	if (!labelled)
		return EVN_OK;
	if (!label)
		c->label = c->n - 1;
	if (c->label == c->n)
		return evn_fail(err, EVN_ERR_FORMAT, "%s: no column \"%.100s\"", r->file, label);
	return EVN_OK;
}

static char *text_of(const columns *c, char *const *fields)
{
	size_t bytes = 1;
	for (uint32_t i = 0; i < c->n; i++)
		bytes += strlen(c->names[i]) + strlen(fields[i]) + 4;
	char *text = malloc(bytes), *to = text;
	for (uint32_t i = 0; i < c->n && text; i++)
		if (i != c->label && fields[i][0])
			to +=
				snprintf(to, bytes - (size_t)(to - text), "%s%s: %s", to > text ? "; " : "", c->names[i], fields[i]);
	if (text)
		*to = '\0';
	return text;
}

static evn_status add(records *out, size_t *room, const columns *c, const reader *r, evn_error *err)
{
	if (out->n == *room) {
		*room = *room ? 2 * *room : 64;
		char **texts = realloc(out->texts, *room * sizeof *texts);
		out->texts = texts ? texts : out->texts;
		char **classes = realloc(out->classes, *room * sizeof *classes);
		out->classes = classes ? classes : out->classes;
		char **images = realloc(out->images, *room * sizeof *images);
		out->images = images ? images : out->images;
		if (!texts || !classes || !images)
			return evn_fail_memory(err, "records", *room * sizeof *texts);
	}
	char *text = text_of(c, r->fields), *class = evn_strdup(c->label < c->n ? r->fields[c->label] : "");
	char *image = evn_strdup(c->image < c->n ? r->fields[c->image] : "");
	if (!text || !class || !image) {
		free(text);
		free(class);
		free(image);
		return evn_fail_memory(err, "records", 0);
	}
	out->texts[out->n] = text;
	out->images[out->n] = image;
	out->classes[out->n++] = class;
	return EVN_OK;
}

static evn_status read_all(records *out, reader *r, columns *c, const char *label, bool labelled, evn_error *err)
{
	size_t room = 0;
	EVN_TRY(read_names(c, r, label, labelled, err));
	for (bool any = true; any;) {
		EVN_TRY(read_row(r, &any, err));
		if (any && r->n_fields != c->n)
			return evn_fail(err, EVN_ERR_FORMAT, "%s: the record that ends in line %zu has %u fields, expected %u",
							r->file, r->line, r->n_fields, c->n);
		if (any)
			EVN_TRY(add(out, &room, c, r, err));
	}
	if (out->n)
		return EVN_OK;
	return evn_fail(err, EVN_ERR_FORMAT, "%s: no record behind the names of the columns", r->file);
}

static void drop(char ***values, size_t n)
{
	for (size_t i = 0; i < n && *values; i++)
		free((*values)[i]);
	free(*values);
	*values = NULL;
}

evn_status records_read(records *out, char *csv, size_t n, const char *label, bool labelled, const char *file,
						evn_error *err)
{
	reader *r = calloc(1, sizeof *r);
	columns *c = calloc(1, sizeof *c);
	*out = (records){0};
	evn_status s = r && c ? EVN_OK : evn_fail_memory(err, "records", sizeof *r);
	if (s == EVN_OK && memchr(csv, '\0', n))
		s = evn_fail(err, EVN_ERR_FORMAT, "%s: has bytes of 0, expected text", file);
	if (s == EVN_OK) {
		*r = (reader){.at = csv, .end = csv + n, .file = file, .line = 1};
		s = read_all(out, r, c, label, labelled, err);
	}
	if (s == EVN_OK && c->label == c->n)
		drop(&out->classes, out->n);
	if (s == EVN_OK && c->image == c->n)
		drop(&out->images, out->n);
	if (s != EVN_OK)
		records_free(out);
	free(r);
	free(c);
	return s;
}

void records_free(records *r)
{
	drop(&r->texts, r->n);
	drop(&r->classes, r->n);
	drop(&r->images, r->n);
	*r = (records){0};
}
