/* dfa.c - see dfa.h. */
#include "grammar/dfa.h"

#include <stdlib.h>
#include <string.h>

#include "grammar/machine.h"
#include "grammar/regex.h"

static evn_status make(evn_dfa *d, uint32_t n, evn_error *err)
{
	*d = (evn_dfa){0};
	if (n > EVN_DFA_MAX_STATES)
		return evn_fail(err, EVN_ERR_LIMIT,
						"schema: a string's pattern needs more than %u states, which is the limit",
						EVN_DFA_MAX_STATES);
	*d = (evn_dfa){calloc(n, sizeof *d->next), calloc(n, 1), n};
	if (d->next && d->accepts)
		return EVN_OK;
	evn_dfa_free(d);
	return evn_fail_memory(err, "schema", n * sizeof *d->next);
}

void evn_dfa_free(evn_dfa *d)
{
	free(d->next);
	free(d->accepts);
	*d = (evn_dfa){0};
}

static evn_status fill(evn_dfa *out, evn_machine *m, evn_error *err)
{
	const uint8_t *class_of = evn_machine_class_of(m);
	for (uint32_t c = EVN_DFA_START; c < evn_machine_configs(m) && c < EVN_DFA_MAX_STATES; c++)
		for (int b = 0; b < 256; b++)
			evn_machine_step(m, c, (uint8_t)b);
	EVN_TRY(evn_machine_status(m, err));
	EVN_TRY(make(out, (uint32_t)evn_machine_configs(m), err));
	for (uint32_t c = EVN_DFA_START; c < out->n; c++) {
		out->accepts[c] = evn_machine_accepts(m, c);
		for (int b = 0; b < 256; b++)
			out->next[c][b] = b && class_of[b] == class_of[b - 1] ? out->next[c][b - 1]
																  : (uint16_t)evn_machine_step(m, c, (uint8_t)b);
	}
	return EVN_OK;
}

evn_status evn_dfa_create(evn_dfa *out, evn_net *n, evn_error *err)
{
	evn_machine *m;
	evn_place place;
	*out = (evn_dfa){0};
	EVN_TRY(evn_machine_create(&m, n, 0, err));
	evn_machine_enter(m, &place); /* configuration 1, for the dead one is 0; the start is never dead */
	evn_status status = evn_machine_status(m, err);
	if (status == EVN_OK)
		status = fill(out, m, err);
	evn_machine_leave(m, &place);
	evn_machine_free(m);
	return status;
}

evn_status evn_dfa_of_regex(evn_dfa *out, const char *text, size_t length, bool search, evn_error *err)
{
	evn_net n = {0};
	uint32_t to = 0;
	*out = (evn_dfa){0};
	n.root = evn_net_rule(&n);
	evn_status status =
		n.status == EVN_OK ? evn_regex_add(&n, n.rules[0].start, text, length, search, &to, err) : EVN_OK;
	if (status == EVN_OK && n.status == EVN_OK)
		evn_net_empty(&n, to, n.rules[0].end);
	if (status == EVN_OK)
		status = evn_net_finish(&n, NULL, NULL, err);
	if (status == EVN_OK)
		status = evn_dfa_create(out, &n, err);
	evn_net_free(&n);
	return status;
}

/* ---- joining --------------------------------------------------------------------------------------------------- */

/* Pairs of states by their hash; a pair's place in `pairs` is its state. */
typedef struct {
	uint32_t *pairs, *slots;
	uint32_t n;
	bool full;
} pair_table;

enum { SLOTS = 4 * EVN_DFA_MAX_STATES };

static uint16_t find_pair(pair_table *t, uint32_t a, uint32_t b)
{
	const uint32_t key = a << 16 | b;
	uint32_t at = (key * 0x9e3779b1u >> 8) & (SLOTS - 1);
	for (; t->slots[at]; at = (at + 1) & (SLOTS - 1))
		if (t->pairs[t->slots[at]] == key)
			return (uint16_t)t->slots[at];
	if (t->n == EVN_DFA_MAX_STATES) {
		t->full = true;
		return 0;
	}
	t->pairs[t->n] = key;
	t->slots[at] = t->n;
	return (uint16_t)t->n++;
}

static bool grow(evn_dfa *d, uint32_t state, uint32_t *room)
{
	if (state < *room)
		return true;
	const uint32_t more = *room ? 2 * *room : 64;
	void *next = realloc(d->next, more * sizeof *d->next);
	d->next = next ? next : d->next;
	*room = next ? more : *room;
	return next != NULL;
}

/* False: no memory. */
static bool join(pair_table *t, evn_dfa *out, const evn_dfa *a, const evn_dfa *b, bool without)
{
	uint32_t room = 0;
	find_pair(t, EVN_DFA_START, EVN_DFA_START);
	for (uint32_t i = EVN_DFA_START; i < t->n; i++) {
		const uint16_t *x = a->next[t->pairs[i] >> 16], *y = b->next[t->pairs[i] & 0xffff];
		if (!grow(out, i, &room))
			return false;
		for (int c = 0; c < 256; c++) {
			const bool same = c && x[c] == x[c - 1] && y[c] == y[c - 1];
			out->next[i][c] = same ? out->next[i][c - 1] : x[c] && (y[c] || without) ? find_pair(t, x[c], y[c]) : 0;
		}
	}
	memset(out->next[0], 0, sizeof *out->next);
	out->n = t->n;
	out->accepts = calloc(t->n, 1);
	for (uint32_t i = EVN_DFA_START; i < t->n && out->accepts; i++)
		out->accepts[i] = a->accepts[t->pairs[i] >> 16] && b->accepts[t->pairs[i] & 0xffff] != without;
	return out->accepts != NULL;
}

evn_status evn_dfa_join(evn_dfa *d, const evn_dfa *other, bool without, evn_error *err)
{
	evn_dfa joined = {0};
	pair_table t = {.n = EVN_DFA_START};
	t.pairs = calloc(EVN_DFA_MAX_STATES, sizeof *t.pairs);
	t.slots = calloc(SLOTS, sizeof *t.slots);
	evn_status status = EVN_OK;
	if (!t.pairs || !t.slots || !join(&t, &joined, d, other, without))
		status = evn_fail_memory(err, "schema", SLOTS * sizeof *t.slots);
	else if (t.full)
		status =
			evn_fail(err, EVN_ERR_LIMIT, "schema: a string's pattern needs more than %u states, which is the limit",
					 EVN_DFA_MAX_STATES);
	free(t.pairs);
	free(t.slots);
	if (status == EVN_OK) {
		evn_dfa_free(d);
		*d = joined;
	} else {
		evn_dfa_free(&joined);
	}
	return status;
}

/* ---- as JSON --------------------------------------------------------------------------------------------------- */

static const char short_escapes[] = "\"\\\b\f\n\r\t", escape_names[] = "\"\\bfnrt";

static bool has_escape(const uint16_t *next)
{
	for (const char *c = short_escapes; *c; c++)
		if (next[(uint8_t)*c])
			return true;
	return false;
}

evn_status evn_dfa_escape(evn_dfa *d, evn_error *err)
{
	evn_dfa made;
	uint32_t n_more = 0, more = d->n;
	for (uint32_t s = EVN_DFA_START; s < d->n; s++)
		n_more += has_escape(d->next[s]);
	EVN_TRY(make(&made, d->n + n_more, err));
	for (uint32_t s = EVN_DFA_START; s < d->n; s++) {
		memcpy(made.next[s], d->next[s], sizeof *made.next);
		memset(made.next[s], 0, 0x20 * sizeof **made.next);
		made.next[s]['"'] = made.next[s]['\\'] = 0;
		made.accepts[s] = d->accepts[s];
		if (!has_escape(d->next[s]))
			continue;
		made.next[s]['\\'] = (uint16_t)more;
		for (size_t i = 0; short_escapes[i]; i++)
			made.next[more][(uint8_t)escape_names[i]] = d->next[s][(uint8_t)short_escapes[i]];
		more++;
	}
	evn_dfa_free(d);
	*d = made;
	return EVN_OK;
}

bool evn_dfa_accepts(const evn_dfa *d, const char *text, size_t n)
{
	uint16_t at = EVN_DFA_START;
	for (size_t i = 0; i < n; i++)
		at = d->next[at][(uint8_t)text[i]];
	return d->accepts[at] != 0;
}

uint32_t evn_dfa_add(const evn_dfa *d, evn_net *n, uint32_t from)
{
	const uint32_t first = (uint32_t)n->n_states, out = evn_net_state(n);
	for (uint32_t s = EVN_DFA_START; s < d->n; s++)
		evn_net_state(n);
	for (uint32_t s = EVN_DFA_START; s < d->n && n->status == EVN_OK; s++) {
		if (d->accepts[s])
			evn_net_empty(n, first + s, out);
		for (int lo = 0, hi; lo < 256; lo = hi + 1) {
			for (hi = lo; hi < 255 && d->next[s][hi + 1] == d->next[s][lo]; hi++)
				;
			if (d->next[s][lo])
				evn_net_bytes(n, first + s, (uint8_t)lo, (uint8_t)hi, first + d->next[s][lo]);
		}
	}
	if (n->status == EVN_OK)
		evn_net_empty(n, from, first + EVN_DFA_START);
	return out;
}
