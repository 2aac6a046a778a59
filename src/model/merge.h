/* merge.h - the loop that BPE and SentencePiece share. It merges the best of all adjacent pairs of symbols, the
 * leftmost of equals, until no pair merges. A priority queue makes it n log n. */
#ifndef EVN_MERGE_H
#define EVN_MERGE_H

#include "base/base.h"

#define EVN_NO_RANK UINT32_MAX

/* A symbol is at the index of its first byte of text; the next one is at that index + length. */
typedef struct {
	int32_t id; /* -1: no token */
	uint32_t length;
	uint32_t previous; /* index */
	uint32_t rank;     /* of the pair with the next symbol; the lowest rank merges first */
	int32_t merged;    /* the token that this pair becomes */
} evn_symbol;

/* Zero-initialise. It can be reused for the next text. */
typedef struct {
	evn_symbol *symbols;
	uint64_t *queue; /* 4-ary heap of (rank << 32 | index of the left symbol) */
	size_t n_queue, capacity;
} evn_merger;

/* Makes room for a text of n bytes. */
evn_status evn_merger_reserve(evn_merger *m, size_t n, evn_error *err);
void evn_merger_clear(evn_merger *m);

/* Sets left->rank (EVN_NO_RANK: does not merge) and left->merged for the pair. begin is the index of left. */
typedef void (*evn_pair_fn)(const void *user, uint32_t begin, evn_symbol *left, const evn_symbol *right);

/* Merges symbols that cover the n bytes and have their id and length set. The rank of a pair must never change. */
void evn_merge(evn_merger *m, uint32_t n, evn_pair_fn pair, const void *user);

#endif
