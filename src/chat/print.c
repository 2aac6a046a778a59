/* print.c - values as text: as Python's str() and repr() write them, and as JSON. */
#include "chat/jinja.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PUT(r, o, text) evn_j_append(r, o, text, strlen(text))

/* The shortest digits that give the same number, and an exponent where Python writes one. */
const char *evn_j_double(char text[32], double f)
{
	if (!isfinite(f)) {
		snprintf(text, 32, "%s", isnan(f) ? "nan" : f > 0 ? "inf" : "-inf");
		return text;
	}
	int precision = 1;
	for (; precision < 17; precision++) {
		snprintf(text, 32, "%.*e", precision - 1, f);
		if (strtod(text, NULL) == f)
			break;
	}
	snprintf(text, 32, "%.*e", precision - 1, f);
	int exponent = atoi(strchr(text, 'e') + 1);
	if (exponent < -4 || exponent >= 16)
		return text; /* C writes the exponent as Python does */
	snprintf(text, 32, "%.*f", precision - 1 > exponent ? precision - 1 - exponent : 1, f);
	return text;
}

static bool prints(uint32_t c)
{
	return !(c < 0x20 || (c >= 0x7f && c <= 0xa0) || c == 0xad || c == 0x1680 || c == 0x180e || c == 0x3000 ||
			 (c >= 0x2000 && c <= 0x200f) || (c >= 0x2028 && c <= 0x202f) || (c >= 0x205f && c <= 0x206f) ||
			 (c >= 0xd800 && c <= 0xf8ff) || c == 0xfeff || (c >= 0xfff0 && c <= 0xfffb) || (c & 0xfffe) == 0xfffe ||
			 c >= 0xe0000);
}

/* The escape of a character in a literal of Python; NULL: it stands for itself. */
static const char *python_escape(char text[16], uint32_t c, char quote)
{
	const char *known = c == '\\' ? "\\\\" : c == '\n' ? "\\n" : c == '\r' ? "\\r" : c == '\t' ? "\\t" : NULL;
	if (known)
		return known;
	if (c == (uint32_t)quote)
		snprintf(text, 16, "\\%c", quote);
	else if (!prints(c))
		snprintf(text, 16, c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x", c);
	else
		return NULL;
	return text;
}

/* The same for JSON, where only ASCII is escaped, or with ascii everything else. */
static const char *json_escape(char text[16], uint32_t c, bool ascii)
{
	static const char *const known[] = {['\\'] = "\\\\", ['"'] = "\\\"", ['\n'] = "\\n", ['\r'] = "\\r",
										['\t'] = "\\t",  ['\b'] = "\\b", ['\f'] = "\\f"};
	if (c < sizeof known / sizeof *known && known[c])
		return known[c];
	if (c < 0x20 || (ascii && c > 0x7e && c < 0x10000))
		snprintf(text, 16, "\\u%04x", c);
	else if (ascii && c >= 0x10000)
		snprintf(text, 16, "\\u%04x\\u%04x", 0xd800 + ((c - 0x10000) >> 10), 0xdc00 + ((c - 0x10000) & 0x3ff));
	else
		return NULL;
	return text;
}

typedef struct {
	char quote;
	bool json, ascii;
} quoting;

static void put_quoted(jrun *r, jout *o, const jstring *s, quoting q)
{
	char text[16];
	size_t done = 0;
	evn_j_append(r, o, &q.quote, 1);
	for (size_t at = 0, length; at < s->n; at += length) {
		uint32_t c = evn_j_character(s, at, &length);
		const char *escape = q.json ? json_escape(text, c, q.ascii) : python_escape(text, c, q.quote);
		if (!escape)
			continue;
		uint8_t foreign[16];
		memset(foreign, s->foreign ? s->foreign[at] : 0, sizeof foreign);
		const jstring replacement = {escape, foreign, strlen(escape)};
		evn_j_append_part(r, o, s, done, at);
		evn_j_append_all(r, o, &replacement);
		done = at + length;
	}
	evn_j_append_part(r, o, s, done, s->n);
	evn_j_append(r, o, &q.quote, 1);
}

static void repr_list(jrun *r, jout *o, const jlist *l)
{
	PUT(r, o, l->tuple ? "(" : "[");
	for (size_t i = 0; i < l->n; i++) {
		if (i > 0)
			PUT(r, o, ", ");
		evn_j_repr(r, o, l->items[i]);
	}
	PUT(r, o, l->tuple ? l->n == 1 ? ",)" : ")" : "]");
}

static void repr_dict(jrun *r, jout *o, const jdict *d)
{
	PUT(r, o, "{");
	for (size_t i = 0; i < d->n; i++) {
		if (i > 0)
			PUT(r, o, ", ");
		evn_j_repr(r, o, d->pairs[i].key);
		PUT(r, o, ": ");
		evn_j_repr(r, o, d->pairs[i].value);
	}
	PUT(r, o, "}");
}

static void put_object(jrun *r, jout *o, jvalue v)
{
	char text[64];
	switch (v.kind) {
	case J_NAMESPACE:
		PUT(r, o, "<Namespace ");
		repr_dict(r, o, v.dict);
		PUT(r, o, ">");
		break;
	case J_LOOP:
		snprintf(text, sizeof text, "<LoopContext %zu/%zu>", v.loop->index + 1, v.loop->items->n);
		PUT(r, o, text);
		break;
	default:
		PUT(r, o, v.callable->macro ? "<Macro '" : "<function '");
		PUT(r, o, v.callable->name);
		PUT(r, o, "'>");
	}
}

void evn_j_repr(jrun *r, jout *o, jvalue v)
{
	char text[32];
	evn_j_enter(r);
	switch (v.kind) {
	case J_MISSING:
	case J_UNDEFINED:
		PUT(r, o, "Undefined");
		break;
	case J_NONE:
		PUT(r, o, "None");
		break;
	case J_BOOL:
		PUT(r, o, v.b ? "True" : "False");
		break;
	case J_INT:
		snprintf(text, sizeof text, "%" PRId64, v.i);
		PUT(r, o, text);
		break;
	case J_FLOAT:
		PUT(r, o, evn_j_double(text, v.f));
		break;
	case J_STRING:
		put_quoted(r, o, v.string,
				   (quoting){.quote = memchr(v.string->bytes, '\'', v.string->n) &&
											  !memchr(v.string->bytes, '"', v.string->n)
										  ? '"'
										  : '\''});
		break;
	case J_LIST:
		repr_list(r, o, v.list);
		break;
	case J_DICT:
		repr_dict(r, o, v.dict);
		break;
	default:
		put_object(r, o, v);
	}
	evn_j_leave(r);
}

void evn_j_print(jrun *r, jout *o, jvalue v)
{
	if (v.kind == J_STRING)
		evn_j_append_all(r, o, v.string);
	else if (v.kind != J_UNDEFINED)
		evn_j_repr(r, o, v);
}

const jstring *evn_j_str(jrun *r, jvalue v)
{
	if (v.kind == J_STRING)
		return v.string;
	jout o = {0};
	evn_j_print(r, &o, v);
	return evn_j_finish(r, &o);
}

/* ---- JSON ---------------------------------------------------------------------------------------------------- */

typedef struct {
	jrun *run;
	jout *out;
	const jstring *indent; /* NULL: all on one line */
	const jstring *comma, *colon;
	size_t level;
	bool ascii, sort;
} json_writer;

static void put_json(json_writer *w, jvalue v);

static void put_line(json_writer *w)
{
	if (!w->indent)
		return;
	PUT(w->run, w->out, "\n");
	for (size_t i = 0; i < w->level; i++)
		evn_j_append_all(w->run, w->out, w->indent);
}

static void put_json_list(json_writer *w, const jlist *l)
{
	PUT(w->run, w->out, "[");
	w->level++;
	for (size_t i = 0; i < l->n; i++) {
		if (i > 0)
			evn_j_append_all(w->run, w->out, w->comma);
		put_line(w);
		put_json(w, l->items[i]);
	}
	w->level--;
	if (l->n > 0)
		put_line(w);
	PUT(w->run, w->out, "]");
}

static void put_key(json_writer *w, jvalue key)
{
	jout text = {0};
	json_writer inner = *w;
	inner.out = &text;
	if (key.kind == J_STRING) {
		put_quoted(w->run, w->out, key.string, (quoting){'"', true, w->ascii});
		return;
	}
	if (key.kind == J_LIST)
		evn_j_fail(w->run, EVN_ERR_FORMAT, "tojson: a key of a dict is a tuple, expected a string");
	put_json(&inner, key);
	put_quoted(w->run, w->out, evn_j_finish(w->run, &text), (quoting){'"', true, w->ascii});
}

/* The places of the pairs, with sort in the order of the keys. */
static const size_t *order_of(json_writer *w, const jdict *d)
{
	size_t *order = evn_j_alloc(w->run, d->n + 1, sizeof *order);
	for (size_t i = 0; i < d->n; i++) {
		size_t at = i;
		while (w->sort && at > 0 && evn_j_compare(w->run, d->pairs[order[at - 1]].key, d->pairs[i].key, "<") > 0) {
			order[at] = order[at - 1];
			at--;
		}
		order[at] = i;
	}
	return order;
}

static void put_json_dict(json_writer *w, const jdict *d)
{
	const size_t *order = order_of(w, d);
	PUT(w->run, w->out, "{");
	w->level++;
	for (size_t i = 0; i < d->n; i++) {
		if (i > 0)
			evn_j_append_all(w->run, w->out, w->comma);
		put_line(w);
		put_key(w, d->pairs[order[i]].key);
		evn_j_append_all(w->run, w->out, w->colon);
		put_json(w, d->pairs[order[i]].value);
	}
	w->level--;
	if (d->n > 0)
		put_line(w);
	PUT(w->run, w->out, "}");
}

static void put_json(json_writer *w, jvalue v)
{
	char text[32];
	evn_j_enter(w->run);
	switch (v.kind) {
	case J_NONE:
		PUT(w->run, w->out, "null");
		break;
	case J_BOOL:
		PUT(w->run, w->out, v.b ? "true" : "false");
		break;
	case J_INT:
		evn_j_repr(w->run, w->out, v);
		break;
	case J_FLOAT:
		PUT(w->run, w->out,
			isnan(v.f)   ? "NaN"
			: isinf(v.f) ? v.f > 0 ? "Infinity" : "-Infinity"
						 : evn_j_double(text, v.f));
		break;
	case J_STRING:
		put_quoted(w->run, w->out, v.string, (quoting){'"', true, w->ascii});
		break;
	case J_LIST:
		put_json_list(w, v.list);
		break;
	case J_DICT:
		put_json_dict(w, v.dict);
		break;
	default:
		evn_j_fail(w->run, EVN_ERR_FORMAT, "tojson: an object of type %s is not JSON", evn_j_type(v));
	}
	evn_j_leave(w->run);
}

static const jstring *indent_of(jrun *r, jvalue v)
{
	if (v.kind == J_NONE)
		return NULL;
	if (v.kind == J_STRING)
		return v.string;
	int64_t n = evn_j_need_int(r, v, "tojson: indent");
	jout o = {0};
	for (; n > 0; n--)
		PUT(r, &o, " ");
	return evn_j_finish(r, &o);
}

/* The filter as transformers defines it, without the escapes for HTML that Jinja2's own has. */
jvalue evn_j_filter_tojson(jrun *r, jvalue self, const jargs *a)
{
	jvalue given[] = {j_bool(false), j_none(), j_none(), j_bool(false)};
	jout o = {0};
	evn_j_bind(r, a, &(jparameters){"tojson", {"ensure_ascii", "indent", "separators", "sort_keys"}}, given);
	json_writer w = {.run = r,
					 .out = &o,
					 .indent = indent_of(r, given[1]),
					 .ascii = evn_j_true(given[0]),
					 .sort = evn_j_true(given[3])};
	w.comma = evn_j_text(r, w.indent ? "," : ", ");
	w.colon = evn_j_text(r, ": ");
	if (given[2].kind == J_LIST && given[2].list->n == 2) {
		w.comma = evn_j_need_string(r, given[2].list->items[0], "tojson: separators");
		w.colon = evn_j_need_string(r, given[2].list->items[1], "tojson: separators");
	} else if (given[2].kind != J_NONE) {
		evn_j_fail(r, EVN_ERR_FORMAT, "tojson: separators: expected two strings");
	}
	put_json(&w, self);
	return j_string(evn_j_finish(r, &o));
}
