/* pattern.c - what regular expressions and GBNF share: escapes, classes of characters, repetitions. */
#include <stdio.h>
#include <string.h>

#include "grammar/regex.h"

evn_status evn_pattern_fail(const evn_pattern *p, const char *expected)
{
	char found[48] = "its end";
	int line = 1;
	for (const char *c = p->begin; c < p->at; c++)
		line += *c == '\n';
	const char *newline = memchr(p->at, '\n', (size_t)(p->end - p->at));
	const int length = (int)((newline ? newline : p->end) - p->at);
	if (p->at < p->end)
		snprintf(found, sizeof found, "'%.*s'", newline == p->at ? 0 : length < 24 ? length : 24, p->at);
	return evn_fail(p->err, EVN_ERR_USAGE, "%s, line %d, offset %zu: expected %s, found %s", p->what, line,
					(size_t)(p->at - p->begin), expected, newline == p->at ? "the end of the line" : found);
}

static int hex_digit(char c)
{
	return c >= '0' && c <= '9'   ? c - '0'
		   : c >= 'a' && c <= 'f' ? c - 'a' + 10
		   : c >= 'A' && c <= 'F' ? c - 'A' + 10
								  : -1;
}

static evn_status read_hex(evn_pattern *p, size_t digits, evn_class *c)
{
	uint32_t value = 0;
	const bool braces = p->at < p->end && *p->at == '{';
	size_t n = 0;
	p->at += braces;
	for (; p->at < p->end && hex_digit(*p->at) >= 0 && n < (braces ? 6 : digits); n++)
		value = value << 4 | (uint32_t)hex_digit(*p->at++);
	if (n == 0 || (!braces && n < digits) || (braces && (p->at == p->end || *p->at++ != '}')))
		return evn_pattern_fail(p, "hexadecimal digits");
	if (value > 0x10ffff || (value >= 0xd800 && value < 0xe000))
		return evn_pattern_fail(p, "a code point of Unicode before this place");
	evn_class_add(c, value, value);
	return EVN_OK;
}

static void add_space(evn_class *c)
{
	static const uint32_t spaces[][2] = {{9, 13},          {32, 32},         {0xa0, 0xa0},     {0x1680, 0x1680},
										 {0x2000, 0x200a}, {0x2028, 0x2029}, {0x202f, 0x202f}, {0x205f, 0x205f},
										 {0x3000, 0x3000}, {0xfeff, 0xfeff}};
	for (size_t i = 0; i < sizeof spaces / sizeof *spaces; i++)
		evn_class_add(c, spaces[i][0], spaces[i][1]);
}

/* d, w and s in ECMAScript's meaning. */
static void add_named(evn_class *to, char name)
{
	evn_class c = {0};
	const char lower = (char)(name | 0x20);
	if (lower == 's')
		add_space(&c);
	else
		evn_class_add(&c, '0', '9');
	if (lower == 'w') {
		evn_class_add(&c, 'A', 'Z');
		evn_class_add(&c, '_', '_');
		evn_class_add(&c, 'a', 'z');
	}
	if (name != lower)
		evn_class_invert(&c);
	for (size_t i = 0; i < c.n; i++)
		evn_class_add(to, c.lo[i], c.hi[i]);
}

evn_status evn_pattern_escape(evn_pattern *p, evn_class *c)
{
	static const char names[] = "nrtfv0", values[] = "\n\r\t\f\v";
	if (p->at == p->end)
		return evn_pattern_fail(p, "a character behind '\\'");
	const char name = *p->at;
	const char *simple = strchr(names, name);
	if (memchr("dwsDWS", name, 6)) {
		p->at++;
		add_named(c, name);
	} else if (name == 'x' || name == 'u' || name == 'U') {
		p->at++;
		return read_hex(p, name == 'x' ? 2 : name == 'u' ? 4 : 8, c);
	} else if (name && simple) {
		p->at++;
		evn_class_add(c, (uint8_t)values[simple - names], (uint8_t)values[simple - names]);
	} else if ((name >= '0' && name <= '9') || (name >= 'a' && name <= 'z') || (name >= 'A' && name <= 'Z')) {
		return evn_pattern_fail(
			p, "an escape that is supported (\\d \\w \\s \\n \\r \\t \\f \\v \\0 \\x \\u, or a sign)");
	} else {
		uint32_t value;
		if (!evn_next_character(&p->at, p->end, &value))
			return evn_pattern_fail(p, "UTF-8");
		evn_class_add(c, value, value);
	}
	return EVN_OK;
}

/* One element of a class: a character, or an escape. *single: whether it is one character. */
static evn_status read_element(evn_pattern *p, evn_class *c, bool *single)
{
	uint32_t value;
	*single = true;
	if (*p->at == '\\') {
		const size_t n = c->n;
		p->at++;
		EVN_TRY(evn_pattern_escape(p, c));
		*single = c->n == n + 1 && c->lo[n] == c->hi[n];
		return EVN_OK;
	}
	if (!evn_next_character(&p->at, p->end, &value))
		return evn_pattern_fail(p, "UTF-8");
	evn_class_add(c, value, value);
	return EVN_OK;
}

static evn_status read_elements(evn_pattern *p, evn_class *c)
{
	while (p->at < p->end && *p->at != ']') {
		bool single, second;
		EVN_TRY(read_element(p, c, &single));
		if (!single || p->end - p->at < 2 || p->at[0] != '-' || p->at[1] == ']')
			continue;
		evn_class last = {0};
		p->at++;
		EVN_TRY(read_element(p, &last, &second));
		if (!second || last.lo[0] < c->lo[c->n - 1])
			return evn_pattern_fail(p, "a range from lower to higher before this place");
		c->hi[c->n - 1] = last.lo[0];
	}
	return EVN_OK;
}

evn_status evn_pattern_class(evn_pattern *p, evn_class *c)
{
	const bool inverted = p->at < p->end && *p->at == '^';
	p->at += inverted;
	EVN_TRY(read_elements(p, c));
	if (p->at == p->end)
		return evn_pattern_fail(p, "']'");
	p->at++;
	evn_class_sort(c);
	if (inverted)
		evn_class_invert(c);
	return c->full ? evn_fail(p->err, EVN_ERR_LIMIT, "%s: a class has more than %d ranges", p->what, EVN_CLASS_MOST)
				   : EVN_OK;
}

/* ---- repetitions ----------------------------------------------------------------------------------------------- */

static bool read_number(evn_pattern *p, uint32_t *value)
{
	const char *begin = p->at;
	for (*value = 0; p->at < p->end && *p->at >= '0' && *p->at <= '9'; p->at++)
		*value = *value > EVN_NET_MAX_COUNT ? *value : *value * 10 + (uint32_t)(*p->at - '0');
	return p->at > begin;
}

static evn_status read_braces(evn_pattern *p, uint32_t *least, uint32_t *most)
{
	p->at++;
	const bool has_least = read_number(p, least);
	*most = *least;
	if (p->at < p->end && *p->at == ',') {
		p->at++;
		*most = EVN_NET_NONE;
		uint32_t given;
		if (read_number(p, &given))
			*most = given;
	}
	if ((!has_least && *most == EVN_NET_NONE) || p->at == p->end || *p->at != '}')
		return evn_pattern_fail(p, "a repetition such as {2}, {2,} or {2,5}");
	if (*least > *most)
		return evn_pattern_fail(p, "the smaller count first before this place");
	if (*least > EVN_NET_MAX_COUNT || (*most != EVN_NET_NONE && *most > EVN_NET_MAX_COUNT))
		return evn_fail(p->err, EVN_ERR_LIMIT, "%s: a repetition of more than %u", p->what, EVN_NET_MAX_COUNT);
	p->at++;
	return EVN_OK;
}

evn_status evn_pattern_count(evn_pattern *p, uint32_t *least, uint32_t *most)
{
	const char sign = p->at < p->end ? *p->at : 0;
	*least = sign == '*' || sign == '?' ? 0 : 1;
	*most = sign == '*' || sign == '+' ? EVN_NET_NONE : 1;
	if (sign == '{')
		return read_braces(p, least, most);
	p->at += sign == '*' || sign == '?' || sign == '+';
	return EVN_OK;
}

/* A copy of the atom that begins at `begin`. */
static evn_status copy(evn_pattern *p, evn_pattern_atom atom, const char *begin, uint32_t from, uint32_t *to)
{
	p->at = begin;
	EVN_TRY(atom(p, from, to));
	if (p->net->status == EVN_ERR_LIMIT)
		return evn_fail(p->err, EVN_ERR_LIMIT, "%s: it needs more than %u states, which is the limit", p->what,
						EVN_NET_MAX_STATES);
	return p->net->status == EVN_OK ? EVN_OK : evn_fail_memory(p->err, p->what, 0);
}

evn_status evn_pattern_repeat(evn_pattern *p, evn_pattern_atom atom, uint32_t from, uint32_t *to)
{
	const char *begin = p->at;
	const uint32_t out = evn_net_state(p->net);
	uint32_t least, most, entry = evn_net_state(p->net), end;
	EVN_TRY(copy(p, atom, begin, entry, &end));
	EVN_TRY(evn_pattern_count(p, &least, &most));
	const char *after = p->at;
	if (most > 0)
		evn_net_empty(p->net, from, entry);
	if (least == 0)
		evn_net_empty(p->net, from, out);
	const uint32_t n = most != EVN_NET_NONE ? most : least;
	for (uint32_t i = 1; i < n; i++) {
		if (i >= least)
			evn_net_empty(p->net, end, out);
		entry = evn_net_state(p->net);
		evn_net_empty(p->net, end, entry);
		EVN_TRY(copy(p, atom, begin, entry, &end));
	}
	if (most == EVN_NET_NONE)
		evn_net_empty(p->net, end, entry);
	if (most > 0)
		evn_net_empty(p->net, end, out);
	p->at = after;
	*to = out;
	return EVN_OK;
}
