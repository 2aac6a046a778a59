/* net.c - building a network; see net.h. */
#include "grammar/net.h"

#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "grammar/words.h"

/* Room for one more element. */
static bool grow(evn_net *n, void **data, size_t used, size_t *room, size_t size, size_t most)
{
	if (n->status != EVN_OK)
		return false;
	if (used < *room)
		return true;
	if (used >= most) {
		n->status = EVN_ERR_LIMIT;
		return false;
	}
	const size_t more = *room ? 2 * *room : 256;
	void *grown = realloc(*data, more * size);
	if (!grown) {
		n->status = EVN_ERR_MEMORY;
		return false;
	}
	*data = grown;
	*room = more;
	return true;
}

void evn_net_free(evn_net *n)
{
	free(n->first);
	free(n->edges);
	free(n->rules);
	*n = (evn_net){0};
}

uint32_t evn_net_state(evn_net *n)
{
	if (!grow(n, (void **)&n->first, n->n_states, &n->states_room, sizeof *n->first, EVN_NET_MAX_STATES))
		return 0;
	n->first[n->n_states] = EVN_NET_NONE;
	return (uint32_t)n->n_states++;
}

uint32_t evn_net_rule(evn_net *n)
{
	const uint32_t start = evn_net_state(n), end = evn_net_state(n);
	if (!grow(n, (void **)&n->rules, n->n_rules, &n->rules_room, sizeof *n->rules, EVN_NET_MAX_STATES))
		return 0;
	n->rules[n->n_rules] = (evn_rule){start, end};
	return (uint32_t)n->n_rules++;
}

static void add(evn_net *n, uint32_t from, evn_edge e)
{
	if (!grow(n, (void **)&n->edges, n->n_edges, &n->edges_room, sizeof *n->edges, 8 * (size_t)EVN_NET_MAX_STATES))
		return;
	e.next = n->first[from];
	n->edges[n->n_edges] = e;
	n->first[from] = (uint32_t)n->n_edges++;
}

void evn_net_empty(evn_net *n, uint32_t from, uint32_t to)
{
	add(n, from, (evn_edge){.kind = EVN_EDGE_EMPTY, .to = to});
}

void evn_net_bytes(evn_net *n, uint32_t from, uint8_t lo, uint8_t hi, uint32_t to)
{
	add(n, from, (evn_edge){.kind = EVN_EDGE_BYTES, .lo = lo, .hi = hi, .to = to});
}

uint32_t evn_net_call(evn_net *n, uint32_t from, uint32_t rule)
{
	const uint32_t to = evn_net_state(n);
	add(n, from, (evn_edge){.kind = EVN_EDGE_CALL, .rule = rule, .to = to});
	return to;
}

uint32_t evn_net_text(evn_net *n, uint32_t from, const char *text, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		const uint32_t to = evn_net_state(n);
		evn_net_bytes(n, from, (uint8_t)text[i], (uint8_t)text[i], to);
		from = to;
	}
	return from;
}

uint32_t evn_net_mark(evn_net *n, uint32_t from, const char *text)
{
	const uint32_t to = evn_net_state(n), token = evn_net_state(n);
	evn_net_empty(n, evn_net_text(n, from, text, strlen(text)), to);
	evn_net_bytes(n, from, EVN_MARK_BYTE, EVN_MARK_BYTE, token);
	evn_net_empty(n, evn_net_text(n, token, text, strlen(text)), to);
	return to;
}

/* ---- characters ------------------------------------------------------------------------------------------------ */

void evn_class_add(evn_class *c, uint32_t lo, uint32_t hi)
{
	if (c->n == EVN_CLASS_MOST) {
		c->full = true;
		return;
	}
	c->lo[c->n] = lo;
	c->hi[c->n++] = hi;
}

void evn_class_sort(evn_class *c)
{
	size_t n = 0;
	for (size_t i = 1; i < c->n; i++)
		for (size_t k = i; k && c->lo[k - 1] > c->lo[k]; k--) {
			const uint32_t lo = c->lo[k], hi = c->hi[k];
			c->lo[k] = c->lo[k - 1];
			c->hi[k] = c->hi[k - 1];
			c->lo[k - 1] = lo;
			c->hi[k - 1] = hi;
		}
	for (size_t i = 0; i < c->n; i++) {
		if (n && c->lo[i] <= c->hi[n - 1] + 1) {
			c->hi[n - 1] = c->hi[i] > c->hi[n - 1] ? c->hi[i] : c->hi[n - 1];
			continue;
		}
		c->lo[n] = c->lo[i];
		c->hi[n++] = c->hi[i];
	}
	c->n = n;
}

void evn_class_invert(evn_class *c)
{
	evn_class inverted = {.full = c->full};
	uint32_t next = 0;
	for (size_t i = 0; i < c->n; i++) {
		if (c->lo[i] > next)
			evn_class_add(&inverted, next, c->lo[i] - 1);
		next = c->hi[i] + 1;
	}
	if (next <= 0x10ffff)
		evn_class_add(&inverted, next, 0x10ffff);
	*c = inverted;
}

static size_t encode(uint32_t c, uint8_t *to)
{
	if (c < 0x80) {
		to[0] = (uint8_t)c;
		return 1;
	}
	const size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
	for (size_t i = n; --i; c >>= 6)
		to[i] = (uint8_t)(0x80 | (c & 0x3f));
	to[0] = (uint8_t)((n == 2 ? 0xc0u : n == 3 ? 0xe0u : 0xf0u) | c);
	return n;
}

/* The states that still read 1, 2 or 3 bytes of any character, for one class. */
typedef struct {
	evn_net *net;
	uint32_t to, rest[4];
} tails;

static uint32_t any_tail(tails *t, size_t n)
{
	if (n == 0)
		return t->to;
	if (!t->rest[n]) {
		const uint32_t after = any_tail(t, n - 1);
		t->rest[n] = evn_net_state(t->net);
		evn_net_bytes(t->net, t->rest[n], 0x80, 0xbf, after);
	}
	return t->rest[n];
}

static bool all_are(const uint8_t *bytes, size_t n, uint8_t value)
{
	for (size_t i = 0; i < n; i++)
		if (bytes[i] != value)
			return false;
	return true;
}

/* The byte strings from lo to hi, both of n bytes. It calls itself at most n times deep. */
static void add_strings(tails *t, uint32_t from, const uint8_t *lo, const uint8_t *hi, size_t n)
{
	static const uint8_t lowest[3] = {0x80, 0x80, 0x80}, highest[3] = {0xbf, 0xbf, 0xbf};
	uint8_t first = lo[0], last = hi[0];
	if (n > 1 && first == last && !(all_are(lo + 1, n - 1, 0x80) && all_are(hi + 1, n - 1, 0xbf))) {
		const uint32_t middle = evn_net_state(t->net);
		evn_net_bytes(t->net, from, first, first, middle);
		add_strings(t, middle, lo + 1, hi + 1, n - 1);
		return;
	}
	if (!all_are(lo + 1, n - 1, 0x80)) {
		const uint32_t middle = evn_net_state(t->net);
		evn_net_bytes(t->net, from, first, first, middle);
		add_strings(t, middle, lo + 1, highest, n - 1);
		first++;
	}
	if (!all_are(hi + 1, n - 1, 0xbf)) {
		const uint32_t middle = evn_net_state(t->net);
		evn_net_bytes(t->net, from, last, last, middle);
		add_strings(t, middle, lowest, hi + 1, n - 1);
		last--;
	}
	if (first <= last)
		evn_net_bytes(t->net, from, first, last, any_tail(t, n - 1));
}

static void add_range(tails *t, uint32_t from, uint32_t lo, uint32_t hi)
{
	static const uint32_t bounds[][2] = {
		{0, 0x7f}, {0x80, 0x7ff}, {0x800, 0xd7ff}, {0xe000, 0xffff}, {0x10000, 0x10ffff}};
	for (size_t i = 0; i < sizeof bounds / sizeof *bounds; i++) {
		const uint32_t low = lo > bounds[i][0] ? lo : bounds[i][0], high = hi < bounds[i][1] ? hi : bounds[i][1];
		uint8_t low_bytes[4], high_bytes[4];
		if (low > high)
			continue;
		const size_t n = encode(low, low_bytes);
		encode(high, high_bytes);
		add_strings(t, from, low_bytes, high_bytes, n);
	}
}

uint32_t evn_net_class(evn_net *n, uint32_t from, const evn_class *c)
{
	tails t = {.net = n, .to = evn_net_state(n)};
	for (size_t i = 0; i < c->n; i++)
		add_range(&t, from, c->lo[i], c->hi[i]);
	return t.to;
}

bool evn_next_character(const char **at, const char *end, uint32_t *c)
{
	size_t whole;
	const size_t left = (size_t)(end - *at), n = left ? evn_utf8_prefix(*at, left, &whole) : 0;
	if (!n || n < whole)
		return false;
	const uint8_t *u = (const uint8_t *)*at;
	*c = n == 1 ? u[0] : u[0] & (0xffu >> (n + 1));
	for (size_t i = 1; i < n; i++)
		*c = *c << 6 | (u[i] & 0x3f);
	*at += n;
	return true;
}
