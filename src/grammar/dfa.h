/* dfa.h - deterministic automata over bytes, for the texts of strings: what regular expressions match can be
 * intersected and excluded, and written as JSON writes strings. */
#ifndef EVN_GRAMMAR_DFA_H
#define EVN_GRAMMAR_DFA_H

#include "grammar/net.h"

#define EVN_DFA_MAX_STATES 16384u
#define EVN_DFA_START 1u /* and 0 is dead */

typedef struct {
	uint16_t (*next)[256];
	uint8_t *accepts;
	uint32_t n;
} evn_dfa;

/* Of a network whose root calls no rules. Takes the network. */
evn_status evn_dfa_create(evn_dfa *out, evn_net *n, evn_error *err);
evn_status evn_dfa_of_regex(evn_dfa *out, const char *text, size_t length, bool search, evn_error *err);
void evn_dfa_free(evn_dfa *d);
/* d becomes what both accept; without: what d accepts and `other` does not. */
evn_status evn_dfa_join(evn_dfa *d, const evn_dfa *other, bool without, evn_error *err);
/* The texts as JSON writes them between quotation marks. Texts with control characters that have no short escape are
 * left out. */
evn_status evn_dfa_escape(evn_dfa *d, evn_error *err);
bool evn_dfa_accepts(const evn_dfa *d, const char *text, size_t n);
uint32_t evn_dfa_add(const evn_dfa *d, evn_net *n, uint32_t from);

#endif
