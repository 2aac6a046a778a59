/* net.h - a grammar as a recursive transition network over bytes: states, edges that read a byte of a range, edges
 * that read nothing, and edges that call a rule. A rule has a start and an end.
 *
 * Builders take the state where they begin and return the state where they end. They never add an edge into the state
 * that they get, and the caller adds none into the state that they return. Adding fails silently once memory or a
 * limit is exhausted; evn_net_finish tells. */
#ifndef EVN_GRAMMAR_NET_H
#define EVN_GRAMMAR_NET_H

#include "base/base.h"

#define EVN_NET_MAX_STATES (1u << 20)
#define EVN_NET_MAX_COUNT 65536u /* of a repetition */
#define EVN_NET_NONE UINT32_MAX

typedef enum { EVN_EDGE_EMPTY, EVN_EDGE_BYTES, EVN_EDGE_CALL } evn_edge_kind;

typedef struct {
	uint32_t next; /* edge of the same state, or EVN_NET_NONE */
	uint32_t to, rule;
	uint8_t kind, lo, hi;
} evn_edge;

typedef struct {
	uint32_t start, end;
} evn_rule;

typedef struct {
	uint32_t *first; /* (n_states) the first edge of each state */
	evn_edge *edges;
	evn_rule *rules;
	size_t n_states, n_edges, n_rules, states_room, edges_room, rules_room;
	uint32_t root; /* a rule */
	evn_status status;
} evn_net;

void evn_net_free(evn_net *n);
uint32_t evn_net_state(evn_net *n);
uint32_t evn_net_rule(evn_net *n); /* a rule without a body: its start and its end are not connected */
void evn_net_empty(evn_net *n, uint32_t from, uint32_t to);
void evn_net_bytes(evn_net *n, uint32_t from, uint8_t lo, uint8_t hi, uint32_t to);
uint32_t evn_net_call(evn_net *n, uint32_t from, uint32_t rule);
uint32_t evn_net_text(evn_net *n, uint32_t from, const char *text, size_t length);
/* Reads the control token with this text, or the text. */
uint32_t evn_net_mark(evn_net *n, uint32_t from, const char *text);

/* Code points, in ranges that are sorted and apart after evn_class_sort. */
#define EVN_CLASS_MOST 256
typedef struct {
	uint32_t lo[EVN_CLASS_MOST], hi[EVN_CLASS_MOST];
	size_t n;
	bool full; /* a range found no room */
} evn_class;
void evn_class_add(evn_class *c, uint32_t lo, uint32_t hi);
void evn_class_sort(evn_class *c);
void evn_class_invert(evn_class *c); /* of a sorted one */
/* Reads one character of the class, in UTF-8. */
uint32_t evn_net_class(evn_net *n, uint32_t from, const evn_class *c);

/* Checks that the root accepts something and that no rule calls itself before it has read a byte, and removes edges
 * from which no end can be reached. name(user, rule) is for messages and may be NULL. */
evn_status evn_net_finish(evn_net *n, const char *(*name)(void *user, uint32_t rule), void *user, evn_error *err);

/* One code point of UTF-8 text at *at; false, if it is no UTF-8 or the text ends. */
bool evn_next_character(const char **at, const char *end, uint32_t *c);

#endif
