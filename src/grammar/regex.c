/* regex.c - see regex.h. Nothing is kept of the text: a repeated part is read again for each copy. */
#include "grammar/regex.h"

#include <string.h>

static evn_status alternatives(evn_pattern *p, uint32_t from, uint32_t *to);

static evn_status group(evn_pattern *p, uint32_t from, uint32_t *to)
{
	p->at++;
	if (p->at < p->end && *p->at == '?') {
		if (p->end - p->at >= 2 && p->at[1] == ':')
			p->at += 2;
		else if (p->end - p->at >= 3 && p->at[1] == '<' && p->at[2] != '=' && p->at[2] != '!' &&
				 memchr(p->at, '>', (size_t)(p->end - p->at)))
			p->at = (const char *)memchr(p->at, '>', (size_t)(p->end - p->at)) + 1;
		else
			return evn_pattern_fail(p, "a group without look-around");
	}
	if (++p->depth > EVN_REGEX_MAX_DEPTH)
		return evn_fail(p->err, EVN_ERR_LIMIT, "%s: groups are nested more than %d deep", p->what,
						EVN_REGEX_MAX_DEPTH);
	EVN_TRY(alternatives(p, from, to));
	p->depth--;
	if (p->at == p->end)
		return evn_pattern_fail(p, "')'");
	p->at++;
	return EVN_OK;
}

static evn_status atom(evn_pattern *p, uint32_t from, uint32_t *to)
{
	evn_class c = {0};
	uint32_t value;
	if (*p->at == '(')
		return group(p, from, to);
	if (memchr("*+?{", *p->at, 4))
		return evn_pattern_fail(p, "something to repeat");
	if (memchr("^$", *p->at, 2))
		return evn_pattern_fail(p, "^ at the beginning and $ at the end only");
	if (*p->at == '[') {
		p->at++;
		EVN_TRY(evn_pattern_class(p, &c));
	} else if (*p->at == '.') {
		p->at++;
		evn_class_add(&c, '\n', '\n');
		evn_class_add(&c, '\r', '\r');
		evn_class_add(&c, 0x2028, 0x2029);
		evn_class_invert(&c);
	} else if (*p->at == '\\') {
		p->at++;
		EVN_TRY(evn_pattern_escape(p, &c));
		evn_class_sort(&c);
	} else {
		if (!evn_next_character(&p->at, p->end, &value))
			return evn_pattern_fail(p, "UTF-8");
		evn_class_add(&c, value, value);
	}
	*to = evn_net_class(p->net, from, &c);
	return EVN_OK;
}

static evn_status sequence(evn_pattern *p, uint32_t from, uint32_t *to)
{
	for (; p->at < p->end && *p->at != '|' && *p->at != ')' && !(*p->at == '$' && p->depth == 0); from = *to) {
		EVN_TRY(evn_pattern_repeat(p, atom, from, to));
		if (p->at < p->end && *p->at == '?') /* lazy: the same texts */
			p->at++;
	}
	*to = from;
	return EVN_OK;
}

static evn_status alternatives(evn_pattern *p, uint32_t from, uint32_t *to)
{
	const uint32_t out = evn_net_state(p->net);
	for (;; p->at++) {
		const uint32_t branch = evn_net_state(p->net);
		evn_net_empty(p->net, from, branch);
		EVN_TRY(sequence(p, branch, to));
		evn_net_empty(p->net, *to, out);
		if (p->at == p->end || *p->at != '|')
			break;
	}
	*to = out;
	return EVN_OK;
}

static uint32_t anything(evn_net *n, uint32_t from)
{
	evn_class c = {0};
	const uint32_t again = evn_net_state(n), out = evn_net_state(n);
	evn_class_add(&c, 0, 0x10ffff);
	evn_net_empty(n, from, again);
	evn_net_empty(n, evn_net_class(n, again, &c), again);
	evn_net_empty(n, again, out);
	return out;
}

/* Each alternative outside of groups has its own ^ and $. */
static evn_status branch(evn_pattern *p, bool search, uint32_t from, uint32_t *to)
{
	const bool begins = p->at < p->end && *p->at == '^';
	p->at += begins;
	if (search && !begins)
		from = anything(p->net, from);
	EVN_TRY(sequence(p, from, to));
	const bool ends = p->at < p->end && *p->at == '$';
	p->at += ends;
	if (search && !ends)
		*to = anything(p->net, *to);
	return p->at < p->end && *p->at != '|' ? evn_pattern_fail(p, "its end or '|'") : EVN_OK;
}

evn_status evn_regex_add(evn_net *n, uint32_t from, const char *text, size_t length, bool search, uint32_t *to,
						 evn_error *err)
{
	evn_pattern p = {
		.at = text, .begin = text, .end = text + length, .what = "regular expression", .err = err, .net = n};
	const uint32_t out = evn_net_state(n);
	for (;; p.at++) {
		const uint32_t begin = evn_net_state(n);
		evn_net_empty(n, from, begin);
		EVN_TRY(branch(&p, search, begin, to));
		evn_net_empty(n, *to, out);
		if (p.at == p.end)
			break;
	}
	*to = out;
	return EVN_OK;
}
