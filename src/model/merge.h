/* merge.h - the loop that BPE and SentencePiece share: of all adjacent pairs of symbols the best one is merged, the
 * leftmost of equals, until no pair merges. A priority queue makes it n log n. */
#ifndef EVN_MERGE_H
#define EVN_MERGE_H

#include "base/base.h"

#define EVN_NO_RANK UINT32_MAX

/* A symbol stands at the index of its first byte of text; the next one at that index + length. */
typedef struct {
	int32_t id; /* -1: no token */
	uint32_t length;
	uint32_t previous; /* index */
	uint32_t rank;     /* of the pair with the next symbol; the lowest merges first */
	int32_t merged;    /* token that pair becomes */
} evn_symbol;

/* Zero-initialise; reused from text to text. */
typedef struct {
	evn_symbol *symbols;
	uint64_t *queue; /* 4-ary heap of rank << 32 | index of the left symbol */
	size_t n_queue, capacity;
} evn_merger;

/* Room for a text of n bytes. */
evn_status evn_merger_reserve(evn_merger *m, size_t n, evn_error *err);
void evn_merger_clear(evn_merger *m);

/* Sets left->rank (EVN_NO_RANK: does not merge) and left->merged for the pair; begin is the index of left. */
typedef void (*evn_pair_fn)(const void *user, uint32_t begin, evn_symbol *left, const evn_symbol *right);

/* Symbols that cover the n bytes have their id and length set. Ranks of one and the same pair never differ. */
void evn_merge(evn_merger *m, uint32_t n, evn_pair_fn pair, const void *user);

#endif
