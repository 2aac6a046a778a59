/* schema_string.c - strings: lengths, patterns and formats. */
#include <string.h>

#include "grammar/dfa.h"
#include "grammar/schema.h"

#define DATE                                                                                                         \
	"\\d{4}-((0[13578]|1[02])-(0[1-9]|[12]\\d|3[01])|(0[469]|11)-(0[1-9]|[12]\\d|30)|02-(0[1-9]|1\\d|2[0-8]))"
#define TIME "([01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(\\.\\d{1,6})?(Z|[+-]([01]\\d|2[0-3]):[0-5]\\d)"
#define OCTET "(25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)"
#define LABEL "[A-Za-z0-9]([A-Za-z0-9-]{0,30}[A-Za-z0-9])?"
#define HOST LABEL "(\\." LABEL "){0,3}"
#define PATH "[A-Za-z0-9._~!$&'()*+,;=:@/?-]*"

/* A format allows more than this in places; what is written is of the format. */
static const struct {
	const char *name, *regex;
} formats[] = {
	{"date", DATE},
	{"time", TIME},
	{"date-time", DATE "T" TIME},
	{"duration", "P(\\d{1,4}D|\\d{1,4}W|(\\d{1,4}D)?T(\\d{1,4}H)?(\\d{1,4}M)?\\d{1,4}S)"},
	{"uuid", "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"},
	{"email", "[A-Za-z0-9_+-]{1,30}(\\.[A-Za-z0-9_+-]{1,20}){0,2}@" LABEL "(\\." LABEL "){1,3}"},
	{"hostname", HOST},
	{"ipv4", OCTET "(\\." OCTET "){3}"},
	{"ipv6", "[0-9a-f]{1,4}(:[0-9a-f]{1,4}){7}"},
	{"uri", "https?://" HOST "(:\\d{1,4})?(/" PATH ")?"},
	{"uri-reference", "(https?://" HOST "(:\\d{1,4})?)?/" PATH},
};

static const char *format_of(const json_t *schema)
{
	const char *name = json_string_value(json_object_get(schema, "format"));
	for (size_t i = 0; name && i < sizeof formats / sizeof *formats; i++)
		if (strcmp(name, formats[i].name) == 0)
			return formats[i].regex;
	return NULL; /* others are annotations */
}

/* Characters one after the other, each a call, so that long limits need few states. */
static uint32_t add_counted(evn_schema *s, uint32_t from, uint64_t min, uint64_t max)
{
	const uint32_t rule = evn_schema_character(s), out = evn_net_state(s->net);
	uint32_t at = from;
	for (uint64_t i = 0; i < (max == UINT64_MAX ? min : max); i++) {
		if (i >= min)
			evn_net_empty(s->net, at, out);
		at = evn_net_call(s->net, at, rule);
	}
	if (max == UINT64_MAX) {
		const uint32_t again = evn_net_state(s->net);
		evn_net_empty(s->net, at, again);
		evn_net_empty(s->net, evn_net_call(s->net, again, rule), again);
		at = again;
	}
	evn_net_empty(s->net, at, out);
	return out;
}

/* A text of min to max characters. */
static evn_status length_dfa(evn_schema *s, uint64_t min, uint64_t max, evn_dfa *out)
{
	evn_net n = {0};
	evn_class any = {.lo = {0}, .hi = {0x10ffff}, .n = 1};
	n.root = evn_net_rule(&n);
	uint32_t at = n.status == EVN_OK ? n.rules[0].start : 0;
	for (uint64_t i = 0; i < (max == UINT64_MAX ? min : max) && n.status == EVN_OK; i++) {
		if (i >= min)
			evn_net_empty(&n, at, n.rules[0].end);
		at = evn_net_class(&n, at, &any);
	}
	if (n.status == EVN_OK && max == UINT64_MAX) {
		const uint32_t again = evn_net_state(&n);
		evn_net_empty(&n, at, again);
		evn_net_empty(&n, evn_net_class(&n, again, &any), again);
		at = again;
	}
	if (n.status == EVN_OK)
		evn_net_empty(&n, at, n.rules[0].end);
	evn_status status = evn_net_finish(&n, NULL, NULL, s->err);
	if (status == EVN_OK)
		status = evn_dfa_create(out, &n, s->err);
	evn_net_free(&n);
	return status;
}

static evn_status join_and_free(evn_schema *s, evn_dfa *d, evn_dfa *other)
{
	const evn_status status = evn_dfa_join(d, other, false, s->err);
	evn_dfa_free(other);
	return status;
}

static evn_status add_patterns(evn_schema *s, json_t *schema, uint64_t min, uint64_t max, evn_dfa *d)
{
	const json_t *pattern = json_object_get(schema, "pattern");
	const char *format = format_of(schema);
	evn_dfa other = {0};
	if (pattern && !json_is_string(pattern))
		return evn_schema_fail(s, "pattern", "a string", pattern);
	if (pattern)
		EVN_TRY(evn_dfa_of_regex(d, json_string_value(pattern), json_string_length(pattern), true, s->err));
	if (format)
		EVN_TRY(evn_dfa_of_regex(pattern ? &other : d, format, strlen(format), false, s->err));
	if (format && pattern)
		EVN_TRY(join_and_free(s, d, &other));
	if (min > 0 || max != UINT64_MAX) {
		EVN_TRY(length_dfa(s, min, max, &other));
		EVN_TRY(join_and_free(s, d, &other));
	}
	return evn_dfa_escape(d, s->err);
}

evn_status evn_schema_string(evn_schema *s, json_t *schema, uint32_t from, uint32_t *to)
{
	uint64_t min = 0, max = UINT64_MAX;
	uint32_t at = evn_net_text(s->net, from, "\"", 1);
	EVN_TRY(evn_schema_count(s, schema, "minLength", &min));
	EVN_TRY(evn_schema_count(s, schema, "maxLength", &max));
	if (min > EVN_NET_MAX_COUNT)
		return evn_fail(s->err, EVN_ERR_LIMIT, "schema: minLength is more than %u, which is the limit",
						EVN_NET_MAX_COUNT);
	if (max != UINT64_MAX && max > EVN_NET_MAX_COUNT)
		max = EVN_NET_MAX_COUNT; /* shorter ones are valid too */
	if (max < min) {
		at = evn_net_state(s->net); /* none */
	} else if (json_object_get(schema, "pattern") || format_of(schema)) {
		evn_dfa d = {0};
		const evn_status status = add_patterns(s, schema, min, max, &d);
		if (status == EVN_OK)
			at = evn_dfa_add(&d, s->net, at);
		evn_dfa_free(&d);
		EVN_TRY(status);
	} else {
		at = add_counted(s, at, min, max);
	}
	*to = evn_net_text(s->net, at, "\"", 1);
	return EVN_OK;
}
