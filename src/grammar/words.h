/* words.h - a vocabulary of byte strings as two trees of prefixes: the plain words, which are 1 to 16 characters that
 * may stand in any JSON string, and the others. Where a grammar reads free text it takes all plain words, and only
 * the tree of the others must be walked. */
#ifndef EVN_GRAMMAR_WORDS_H
#define EVN_GRAMMAR_WORDS_H

#include "base/base.h"

#define EVN_PLAIN_CHARACTERS 16
#define EVN_MARK_BYTE 0xff /* a control token that a grammar may ask for begins with it (evn_net_mark) */

typedef struct {
	const char *bytes; /* none: the token has no text and is never allowed */
	uint32_t n;
	bool ends; /* the token ends a text; its bytes do not count */
} evn_word;

/* A node: the byte that leads to it, its depth from 1, the node behind its subtree, and the words that end here.
 * Nodes lie in the order of a walk that visits parents first. */
typedef struct {
	uint32_t behind, first_id, n_ids;
	uint16_t depth;
	uint8_t byte;
} evn_tree_node;

typedef struct {
	evn_tree_node *nodes;
	size_t n_nodes, room;
	uint32_t max_depth;
} evn_tree;

typedef struct {
	evn_tree plain, other;
	int32_t *ids; /* in the order of the words' bytes */
	uint32_t n;   /* words */
	int32_t *ends;
	uint32_t n_ends, n_mask; /* 64-bit parts of a mask */
	uint64_t *plain_mask;    /* all plain words */
	uint8_t *is_plain;       /* (n) */
	char *text;              /* the bytes of word id: from at[id] to at[id + 1] */
	uint32_t *at;            /* (n + 1) */
} evn_words;

/* words (n) are used until evn_words_create returns. */
evn_status evn_words_create(evn_words **out, const evn_word *words, uint32_t n, evn_error *err);
void evn_words_free(evn_words *w);

#endif
