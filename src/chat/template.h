/* template.h - renders a chat template: the part of Jinja2 that such templates use, with the results of Python's
 * Jinja2 as transformers sets it up (trim_blocks, lstrip_blocks, its tojson, an immutable sandbox). Steps, depth and
 * memory have limits. */
#ifndef EVN_TEMPLATE_H
#define EVN_TEMPLATE_H

#include "base/base.h"

#include <jansson.h>
#include <time.h>

typedef struct {
	const char *name; /* for messages */
	const char *text;
	size_t n;
	const json_t *variables; /* an object. Its strings are foreign: they come from users */
	const json_t *own;       /* an object whose strings count as text of the template; may be NULL */
	struct tm now;           /* for strftime_now */
} evn_template;

typedef struct {
	char *text;       /* malloc'd, NUL-terminated, UTF-8 */
	uint8_t *foreign; /* (n), malloc'd; 1: the byte comes from the variables */
	size_t n;
} evn_rendered;

/* EVN_ERR_FORMAT: the template is wrong, or does not suit the variables. EVN_ERR_USAGE: it raised an exception
 * itself. EVN_ERR_LIMIT: it needs too much. */
evn_status evn_template_render(evn_rendered *out, const evn_template *t, evn_error *err);
void evn_rendered_free(evn_rendered *r);

#endif
