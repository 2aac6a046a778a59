/* regex.h - regular expressions as part of a network: the common part of ECMAScript's and Python's syntax, over
 * characters. No look-around, back-references, word boundaries or \p. */
#ifndef EVN_GRAMMAR_REGEX_H
#define EVN_GRAMMAR_REGEX_H

#include "grammar/net.h"

#define EVN_REGEX_MAX_DEPTH 64 /* of groups */

/* Adds what the whole expression matches. search: also the text around a match, except where ^ and $ stand, as for
 * the pattern of JSON Schema; otherwise ^ and $ have no effect at the ends. *to is where it ends. */
evn_status evn_regex_add(evn_net *n, uint32_t from, const char *text, size_t length, bool search, uint32_t *to,
						 evn_error *err);

/* Escapes and classes, which GBNF shares. *at is behind the '[' or the backslash. */
typedef struct {
	const char *at, *begin, *end, *what; /* what: for messages, "regular expression" */
	evn_error *err;
	evn_net *net;
	int depth;
} evn_pattern;
evn_status evn_pattern_fail(const evn_pattern *p, const char *expected);
evn_status evn_pattern_class(evn_pattern *p, evn_class *c);
/* A class such as \d, or one character. */
evn_status evn_pattern_escape(evn_pattern *p, evn_class *c);
/* Reads *, +, ?, {m}, {m,} or {m,n}; none is once. most: EVN_NET_NONE without a limit. */
evn_status evn_pattern_count(evn_pattern *p, uint32_t *least, uint32_t *most);
/* Repeats what `atom` reads at p->at, again for each copy. The atom was not read yet. */
typedef evn_status (*evn_pattern_atom)(evn_pattern *p, uint32_t from, uint32_t *to);
evn_status evn_pattern_repeat(evn_pattern *p, evn_pattern_atom atom, uint32_t from, uint32_t *to);

#endif
