/* fill.h - templates such as "Translate into French: {text}". A name in braces stands for a field of the piece; {{
 * and
 * }} are braces. The text of a field is never read as a template. */
#ifndef EVN_CLI_FILL_H
#define EVN_CLI_FILL_H

#include "cli/batch/cut.h"
#include <jansson.h>

typedef struct {
	bool is_field;
	char *text; /* the name of a field, or text as it is */
} template_part;

typedef struct {
	template_part *parts;
	size_t n;
} text_template;

/* Free *t even if this fails. */
evn_status template_read(text_template *t, const char *source, evn_error *err);
void template_free(text_template *t);
/* The name of a field that the template has and that is not `known`; NULL if there is none. */
const char *template_other_field(const text_template *t, const char *known);

typedef struct {
	char *text; /* malloc'd, NUL-terminated */
	size_t bytes;
	text_range *fields; /* where the text of fields lies in it, in order */
	size_t n_fields;
} filled_text;

/* fields: an object. A field that the template names must be a text, a number or a truth value there; else
 * EVN_ERR_USAGE names it. Free *out even if this fails. */
evn_status template_fill(filled_text *out, const text_template *t, const json_t *fields, evn_error *err);
void filled_text_free(filled_text *f);

#endif
