/* finish.c - checks a network that is built: what accepts nothing is removed, and what calls itself before it reads
 * is refused. Nothing here recurses. */
#include <stdlib.h>
#include <string.h>

#include "grammar/net.h"

/* For each state the edges into it, for each rule the edges that call it, by counting. */
typedef struct {
	uint32_t *into_at, *into, *calls_at, *calls, *from;
} reverse;

static void reverse_free(reverse *r)
{
	free(r->into_at);
	free(r->into);
	free(r->calls_at);
	free(r->calls);
	free(r->from);
}

static uint32_t *ints(size_t n) { return calloc(n + 2, sizeof(uint32_t)); }

static bool reverse_make(reverse *r, const evn_net *n)
{
	*r = (reverse){ints(n->n_states), ints(n->n_edges), ints(n->n_rules), ints(n->n_edges), ints(n->n_edges)};
	if (!r->into_at || !r->into || !r->calls_at || !r->calls || !r->from)
		return false;
	for (size_t i = 0; i < n->n_edges; i++) {
		r->into_at[n->edges[i].to + 2]++;
		if (n->edges[i].kind == EVN_EDGE_CALL)
			r->calls_at[n->edges[i].rule + 2]++;
	}
	for (size_t i = 2; i < n->n_states + 2; i++)
		r->into_at[i] += r->into_at[i - 1];
	for (size_t i = 2; i < n->n_rules + 2; i++)
		r->calls_at[i] += r->calls_at[i - 1];
	for (uint32_t s = 0; s < n->n_states; s++)
		for (uint32_t e = n->first[s]; e != EVN_NET_NONE; e = n->edges[e].next) {
			r->from[e] = s;
			r->into[r->into_at[n->edges[e].to + 1]++] = e;
			if (n->edges[e].kind == EVN_EDGE_CALL)
				r->calls[r->calls_at[n->edges[e].rule + 1]++] = e;
		}
	return true;
}

/* Which states reach the end of their rule, over all edges or over those that read nothing. rule_of_start: 1 + the
 * rule that begins at a state. */
typedef struct {
	const evn_net *net;
	const reverse *reverse;
	const uint32_t *rule_of_start;
	bool reads; /* byte edges count */
	uint8_t *reaches, *rule_reaches;
	uint32_t *work;
	size_t n_work;
} fixpoint;

static void reach(fixpoint *f, uint32_t state)
{
	if (f->reaches[state])
		return;
	f->reaches[state] = 1;
	f->work[f->n_work++] = state;
}

static void reach_over(fixpoint *f, uint32_t e)
{
	const evn_edge *edge = &f->net->edges[e];
	if (!f->reaches[edge->to] || (edge->kind == EVN_EDGE_BYTES && !f->reads) ||
		(edge->kind == EVN_EDGE_CALL && !f->rule_reaches[edge->rule]))
		return;
	reach(f, f->reverse->from[e]);
}

static void solve(fixpoint *f)
{
	const reverse *r = f->reverse;
	for (size_t i = 0; i < f->net->n_rules; i++)
		reach(f, f->net->rules[i].end);
	while (f->n_work) {
		const uint32_t state = f->work[--f->n_work], rule = f->rule_of_start[state];
		for (uint32_t i = r->into_at[state]; i < r->into_at[state + 1]; i++)
			reach_over(f, r->into[i]);
		if (!rule)
			continue;
		f->rule_reaches[rule - 1] = 1;
		for (uint32_t i = r->calls_at[rule - 1]; i < r->calls_at[rule]; i++)
			reach_over(f, r->calls[i]);
	}
}

/* ---- left recursion -------------------------------------------------------------------------------------------- */

/* A search in depth over states: along edges that read nothing, over calls of rules that may be empty, and into
 * rules. The rules that are open are those through which the search has come; a call of one of them is left
 * recursion. */
typedef struct {
	const evn_net *net;
	const uint8_t *nullable;
	uint8_t *seen, *color; /* of states; of rules: OPENED, CLOSED */
	uint32_t *stack;       /* states; rules to open or to close */
	size_t n;
} search;

#define TO_OPEN 0x40000000u
#define TO_CLOSE 0x80000000u
enum { OPENED = 1, CLOSED = 2 };

static void visit(search *s, uint32_t state)
{
	if (!s->seen[state])
		s->stack[s->n++] = state;
	s->seen[state] = 1;
}

static void leave(search *s, uint32_t state)
{
	for (uint32_t e = s->net->first[state]; e != EVN_NET_NONE; e = s->net->edges[e].next) {
		const evn_edge *edge = &s->net->edges[e];
		if (edge->kind == EVN_EDGE_EMPTY || (edge->kind == EVN_EDGE_CALL && s->nullable[edge->rule]))
			visit(s, edge->to);
		if (edge->kind == EVN_EDGE_CALL)
			s->stack[s->n++] = TO_OPEN | edge->rule;
	}
}

/* The rule that calls itself, or EVN_NET_NONE. */
static uint32_t search_from(search *s, uint32_t rule)
{
	s->stack[s->n++] = TO_OPEN | rule;
	while (s->n) {
		const uint32_t top = s->stack[--s->n];
		const uint32_t r = top & ~(TO_OPEN | TO_CLOSE);
		if (top & TO_CLOSE) {
			s->color[r] = CLOSED;
		} else if (!(top & TO_OPEN)) {
			leave(s, top);
		} else if (s->color[r] == OPENED) {
			return r;
		} else if (!s->color[r]) {
			s->color[r] = OPENED;
			s->stack[s->n++] = TO_CLOSE | r;
			visit(s, s->net->rules[r].start);
		}
	}
	return EVN_NET_NONE;
}

/* ---- all together ---------------------------------------------------------------------------------------------- */

typedef struct {
	reverse reverse;
	uint32_t *rule_of_start, *work;
	uint8_t *reaches, *rule_reaches, *empty, *rule_empty, *seen, *color;
} memory;

static bool memory_make(memory *m, const evn_net *n)
{
	const size_t states = n->n_states + 1, rules = n->n_rules + 1;
	m->rule_of_start = calloc(states, sizeof *m->rule_of_start);
	m->work = malloc((2 * states + n->n_edges + rules) * sizeof *m->work);
	m->reaches = calloc(states, 1);
	m->rule_reaches = calloc(rules, 1);
	m->empty = calloc(states, 1);
	m->rule_empty = calloc(rules, 1);
	m->seen = calloc(states, 1);
	m->color = calloc(rules, 1);
	if (!reverse_make(&m->reverse, n) || !m->rule_of_start || !m->work || !m->reaches || !m->rule_reaches ||
		!m->empty || !m->rule_empty || !m->seen || !m->color)
		return false;
	for (uint32_t i = 0; i < n->n_rules; i++)
		m->rule_of_start[n->rules[i].start] = i + 1;
	return true;
}

static void memory_free(memory *m)
{
	reverse_free(&m->reverse);
	free(m->rule_of_start);
	free(m->work);
	free(m->reaches);
	free(m->rule_reaches);
	free(m->empty);
	free(m->rule_empty);
	free(m->seen);
	free(m->color);
}

static void remove_dead(evn_net *n, const uint8_t *reaches, const uint8_t *rule_reaches)
{
	for (size_t s = 0; s < n->n_states; s++)
		for (uint32_t *at = &n->first[s]; *at != EVN_NET_NONE;) {
			const evn_edge *e = &n->edges[*at];
			if (!reaches[e->to] || (e->kind == EVN_EDGE_CALL && !rule_reaches[e->rule]))
				*at = e->next;
			else
				at = &n->edges[*at].next;
		}
}

static evn_status check(evn_net *n, memory *m, const char *(*name)(void *user, uint32_t rule), void *user,
						evn_error *err)
{
	fixpoint ends = {n, &m->reverse, m->rule_of_start, true, m->reaches, m->rule_reaches, m->work, 0};
	fixpoint empties = {n, &m->reverse, m->rule_of_start, false, m->empty, m->rule_empty, m->work, 0};
	solve(&ends);
	if (!m->rule_reaches[n->root])
		return evn_fail(err, EVN_ERR_USAGE, "grammar: expected at least one text that it accepts, found none");
	solve(&empties);
	remove_dead(n, m->reaches, m->rule_reaches);
	search s = {.net = n, .nullable = m->rule_empty, .seen = m->seen, .color = m->color, .stack = m->work};
	const uint32_t rule = search_from(&s, n->root);
	if (rule == EVN_NET_NONE)
		return EVN_OK;
	const char *text = name ? name(user, rule) : NULL;
	return evn_fail(err, EVN_ERR_USAGE, "grammar: %s calls itself before it has read anything (left recursion)",
					text ? text : "a rule");
}

evn_status evn_net_finish(evn_net *n, const char *(*name)(void *user, uint32_t rule), void *user, evn_error *err)
{
	memory m = {0};
	if (n->status == EVN_ERR_LIMIT)
		return evn_fail(err, EVN_ERR_LIMIT, "grammar: it needs more than %u states, which is the limit",
						EVN_NET_MAX_STATES);
	if (n->status != EVN_OK || !memory_make(&m, n)) {
		memory_free(&m);
		return evn_fail_memory(err, "grammar", 0);
	}
	const evn_status status = check(n, &m, name, user, err);
	memory_free(&m);
	return status;
}
