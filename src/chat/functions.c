/* functions.c - the functions that every template has. */
#include "chat/jinja.h"

#include <stdio.h>

static jvalue function_range(jrun *r, jvalue self, const jargs *a)
{
	(void)self;
	jvalue given[] = {{0}, j_none(), j_int(1)};
	evn_j_bind(r, a, &(jparameters){"range", {"start", "stop", "step"}}, given);
	int64_t from = evn_j_need_int(r, given[0], "range"), to = from, step = evn_j_need_int(r, given[2], "range: step");
	if (given[1].kind == J_NONE)
		from = 0;
	else
		to = evn_j_need_int(r, given[1], "range: stop");
	if (step == 0)
		evn_j_fail(r, EVN_ERR_FORMAT, "range: the step is 0");
	/* unsigned arithmetic: the distance may need 64 bits */
	uint64_t distance = step > 0 ? (uint64_t)to - (uint64_t)from : (uint64_t)from - (uint64_t)to;
	uint64_t stride = step > 0 ? (uint64_t)step : -(uint64_t)step;
	uint64_t n = (step > 0 ? from < to : from > to) ? (distance - 1) / stride + 1 : 0;
	if (n > EVN_J_MAX_RANGE)
		evn_j_fail(r, EVN_ERR_LIMIT, "range: more than %d numbers", EVN_J_MAX_RANGE);
	jlist *l = evn_j_new_list(r, (size_t)n);
	for (uint64_t i = 0; i < n; i++)
		evn_j_push(r, l, j_int((int64_t)((uint64_t)from + i * (uint64_t)step)));
	return j_list(l);
}

/* dict(a=1), dict({...}, a=1), and the same for namespace */
static jdict *new_dict(jrun *r, const jargs *a, const char *name)
{
	jdict *d = evn_j_new_dict(r);
	if (a->n > 1)
		evn_j_fail(r, EVN_ERR_FORMAT, "%s: %zu arguments, expected at most 1", name, a->n);
	const jlist *from = a->n == 1 ? evn_j_iterate(r, a->values[0]) : NULL;
	for (size_t i = 0; from && i < from->n; i++) {
		if (a->values[0].kind == J_DICT) {
			evn_j_put_new(r, d, from->items[i], a->values[0].dict->pairs[i].value);
			continue;
		}
		const jlist *pair = evn_j_iterate(r, from->items[i]);
		if (pair->n != 2)
			evn_j_fail(r, EVN_ERR_FORMAT, "%s: expected pairs", name);
		evn_j_put(r, d, pair->items[0], pair->items[1]);
	}
	for (size_t k = 0; k < a->n_keywords; k++)
		evn_j_put(r, d, a->keywords[k].key, a->keywords[k].value);
	return d;
}

static jvalue function_dict(jrun *r, jvalue self, const jargs *a)
{
	(void)self;
	return j_dict(new_dict(r, a, "dict"));
}

static jvalue function_namespace(jrun *r, jvalue self, const jargs *a)
{
	(void)self;
	return (jvalue){.kind = J_NAMESPACE, .dict = new_dict(r, a, "namespace")};
}

static jvalue function_strftime_now(jrun *r, jvalue self, const jargs *a)
{
	(void)self;
	jvalue given[] = {{0}};
	char format[128], text[512];
	evn_j_bind(r, a, &(jparameters){"strftime_now", {"format"}}, given);
	const jstring *s = evn_j_need_string(r, given[0], "strftime_now");
	if (s->n >= sizeof format)
		evn_j_fail(r, EVN_ERR_FORMAT, "strftime_now: a format of %zu bytes, expected at most %zu", s->n,
				   sizeof format - 1);
	snprintf(format, sizeof format, "%.*s", (int)s->n, s->bytes);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral" /* the format is the template's */
	text[strftime(text, sizeof text, format, &r->now)] = '\0';
#pragma GCC diagnostic pop
	return j_string(evn_j_text(r, text));
}

static jvalue function_raise_exception(jrun *r, jvalue self, const jargs *a)
{
	(void)self;
	jvalue given[] = {{0}};
	evn_j_bind(r, a, &(jparameters){"raise_exception", {"message"}}, given);
	const jstring *s = evn_j_str(r, given[0]);
	r->line = 0; /* the author's words are for the user */
	evn_j_fail(r, EVN_ERR_USAGE, "%.*s", (int)(s->n < 900 ? s->n : 900), s->bytes);
}

const jentry evn_j_functions[] = {
	{"range", function_range},
	{"dict", function_dict},
	{"namespace", function_namespace},
	{"strftime_now", function_strftime_now},
	{"raise_exception", function_raise_exception},
	{0},
};
