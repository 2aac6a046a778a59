/* gbnf.c - see gbnf.h. One pass: a name that is used before its rule stands for a rule that is still empty. */
#include "grammar/gbnf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "grammar/regex.h"

typedef struct {
	char name[EVN_GBNF_MAX_NAME + 1];
	uint32_t rule;
	bool defined;
} named;

typedef struct {
	evn_pattern p; /* the first member: the functions of patterns give it back */
	named *names;
	size_t n_names, room;
	char shown[EVN_GBNF_MAX_NAME + 16];
} reader;

static evn_status alternatives(evn_pattern *p, uint32_t from, uint32_t *to);

static void skip_space(evn_pattern *p, bool newlines)
{
	for (; p->at < p->end; p->at++) {
		if (*p->at == '#')
			while (p->at + 1 < p->end && p->at[1] != '\n')
				p->at++;
		else if (*p->at != ' ' && *p->at != '\t' && !(newlines && (*p->at == '\n' || *p->at == '\r')))
			return;
	}
}

static bool is_name(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

static evn_status read_name(evn_pattern *p, char *name)
{
	size_t n = 0;
	for (; p->at < p->end && is_name(*p->at) && n < EVN_GBNF_MAX_NAME; p->at++)
		name[n++] = *p->at;
	name[n] = '\0';
	if (n == 0)
		return evn_pattern_fail(p, "a name of a rule");
	return p->at < p->end && is_name(*p->at)
			   ? evn_fail(p->err, EVN_ERR_LIMIT, "grammar: the name '%s...' is longer than %d characters", name,
						  EVN_GBNF_MAX_NAME)
			   : EVN_OK;
}

/* The rule of this name, which is made where there was none. */
static evn_status find(reader *r, const char *name, named **out)
{
	for (size_t i = 0; i < r->n_names; i++)
		if (strcmp(r->names[i].name, name) == 0) {
			*out = &r->names[i];
			return EVN_OK;
		}
	if (r->n_names == r->room) {
		const size_t room = r->room ? 2 * r->room : 32;
		named *names = realloc(r->names, room * sizeof *names);
		if (!names)
			return evn_fail_memory(r->p.err, "grammar", room * sizeof *names);
		r->names = names;
		r->room = room;
	}
	*out = &r->names[r->n_names++];
	**out = (named){.rule = evn_net_rule(r->p.net)};
	memcpy((*out)->name, name, strlen(name) + 1);
	return EVN_OK;
}

/* ---- what stands in a rule ------------------------------------------------------------------------------------- */

static evn_status literal(evn_pattern *p, uint32_t from, uint32_t *to)
{
	for (p->at++; p->at < p->end && *p->at != '"'; from = *to) {
		evn_class c = {0};
		uint32_t value;
		if (*p->at == '\n')
			return evn_pattern_fail(p, "'\"'");
		if (*p->at == '\\') {
			p->at++;
			EVN_TRY(evn_pattern_escape(p, &c));
		} else if (evn_next_character(&p->at, p->end, &value)) {
			evn_class_add(&c, value, value);
		} else {
			return evn_pattern_fail(p, "UTF-8");
		}
		*to = evn_net_class(p->net, from, &c);
	}
	if (p->at == p->end)
		return evn_pattern_fail(p, "'\"'");
	p->at++;
	*to = from;
	return EVN_OK;
}

static evn_status group(evn_pattern *p, uint32_t from, uint32_t *to)
{
	p->at++;
	if (++p->depth > EVN_GBNF_MAX_DEPTH)
		return evn_fail(p->err, EVN_ERR_LIMIT, "grammar: parentheses are nested more than %d deep",
						EVN_GBNF_MAX_DEPTH);
	EVN_TRY(alternatives(p, from, to));
	p->depth--;
	skip_space(p, true);
	if (p->at == p->end || *p->at != ')')
		return evn_pattern_fail(p, "')'");
	p->at++;
	return EVN_OK;
}

static evn_status call(evn_pattern *p, uint32_t from, uint32_t *to)
{
	char name[EVN_GBNF_MAX_NAME + 1];
	named *rule;
	EVN_TRY(read_name(p, name));
	EVN_TRY(find((reader *)p, name, &rule));
	*to = evn_net_call(p->net, from, rule->rule);
	return EVN_OK;
}

static evn_status atom(evn_pattern *p, uint32_t from, uint32_t *to)
{
	evn_class c = {0};
	if (*p->at == '"')
		return literal(p, from, to);
	if (*p->at == '(')
		return group(p, from, to);
	if (is_name(*p->at))
		return call(p, from, to);
	if (*p->at == '[') {
		p->at++;
		EVN_TRY(evn_pattern_class(p, &c));
	} else if (*p->at == '.') {
		p->at++;
		evn_class_add(&c, 0, 0x10ffff);
	} else {
		return evn_pattern_fail(p, "a literal, a class, '.', '(', or a name of a rule");
	}
	*to = evn_net_class(p->net, from, &c);
	return EVN_OK;
}

/* Whether the next line begins another rule: NAME ::= */
static bool at_rule(const evn_pattern *p)
{
	evn_pattern ahead = *p;
	while (ahead.at < ahead.end && is_name(*ahead.at))
		ahead.at++;
	if (ahead.at == p->at)
		return false;
	skip_space(&ahead, false);
	return ahead.end - ahead.at >= 3 && memcmp(ahead.at, "::=", 3) == 0;
}

/* A sequence outside of parentheses ends with the line, unless the next line goes on with '|'. */
static evn_status sequence(evn_pattern *p, uint32_t from, uint32_t *to)
{
	for (;; from = *to) {
		skip_space(p, p->depth > 0);
		*to = from;
		if (p->at == p->end || *p->at == '|' || *p->at == ')' || *p->at == '\n' || *p->at == '\r' || at_rule(p))
			return EVN_OK;
		EVN_TRY(evn_pattern_repeat(p, atom, from, to));
	}
}

static evn_status alternatives(evn_pattern *p, uint32_t from, uint32_t *to)
{
	const uint32_t out = evn_net_state(p->net);
	for (;; p->at++) {
		const uint32_t branch = evn_net_state(p->net);
		evn_net_empty(p->net, from, branch);
		skip_space(p, true);
		if (!(p->at < p->end && at_rule(p)))
			EVN_TRY(sequence(p, branch, to));
		else
			*to = branch;
		evn_net_empty(p->net, *to, out);
		evn_pattern ahead = *p;
		skip_space(&ahead, true);
		if (ahead.at == ahead.end || *ahead.at != '|')
			break;
		p->at = ahead.at;
	}
	*to = out;
	return EVN_OK;
}

/* ---- rules ----------------------------------------------------------------------------------------------------- */

static evn_status rule(reader *r)
{
	char name[EVN_GBNF_MAX_NAME + 1];
	named *at;
	uint32_t to;
	evn_pattern *p = &r->p;
	EVN_TRY(read_name(p, name));
	EVN_TRY(find(r, name, &at));
	if (at->defined)
		return evn_fail(p->err, EVN_ERR_USAGE, "grammar: expected one rule '%s', found two", name);
	at->defined = true;
	const uint32_t id = at->rule;
	skip_space(p, false);
	if (p->end - p->at < 3 || memcmp(p->at, "::=", 3) != 0)
		return evn_pattern_fail(p, "'::='");
	p->at += 3;
	if (p->net->status != EVN_OK)
		return EVN_OK; /* evn_net_finish says it */
	EVN_TRY(alternatives(p, p->net->rules[id].start, &to));
	if (p->net->status == EVN_OK)
		evn_net_empty(p->net, to, p->net->rules[id].end);
	skip_space(p, false);
	return p->at < p->end && *p->at != '\n' && *p->at != '\r' ? evn_pattern_fail(p, "the end of the rule") : EVN_OK;
}

static const char *name_of(void *user, uint32_t id)
{
	reader *r = user;
	for (size_t i = 0; i < r->n_names; i++)
		if (r->names[i].rule == id)
			snprintf(r->shown, sizeof r->shown, "the rule '%s'", r->names[i].name);
	return *r->shown ? r->shown : NULL;
}

static evn_status rules(reader *r)
{
	evn_pattern *p = &r->p;
	for (skip_space(p, true); p->at < p->end; skip_space(p, true))
		EVN_TRY(rule(r));
	bool has_root = false;
	for (size_t i = 0; i < r->n_names; i++) {
		const named *n = &r->names[i];
		if (!n->defined)
			return evn_fail(p->err, EVN_ERR_USAGE,
							"grammar: expected a rule '%s', which another one names, found none", n->name);
		if (strcmp(n->name, "root") == 0) {
			has_root = true;
			p->net->root = n->rule;
		}
	}
	if (!has_root)
		return evn_fail(p->err, EVN_ERR_USAGE, "grammar: expected a rule 'root', found none");
	return evn_net_finish(p->net, name_of, r, p->err);
}

evn_status evn_gbnf_read(evn_net *n, const char *text, size_t length, evn_error *err)
{
	reader r = {.p = {.at = text, .begin = text, .end = text + length, .what = "grammar", .err = err, .net = n}};
	const evn_status status = rules(&r);
	free(r.names);
	return status;
}
