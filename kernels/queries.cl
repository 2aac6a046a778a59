// queries.cl - how the queries of a KV head are divided into work-groups. Parameters: those of heads.cl; QUERIES, the
// queries of a work-group.
#include "heads.cl"

#ifndef QUERIES
#define QUERIES 1
#endif

// Queries are numbered within a span. Query i is head i % n_own, of the n_own query heads of a KV head, in row i /
// n_own of the span.
typedef struct {
	uint kv, begin, n_own; // the KV head; its first query head on this rank, and their number
	uint first;            // the first of the QUERIES queries
} query_block;

// The r-th query of a block. Beyond the last query of the span it is that one again.
INLINE uint query_number(const query_block *b, const row_span *s, uint r) { return min(b->first + r, b->n_own * s->n_rows - 1); }

// The end of the keys that row t of a span sees: those up to its own, or those of the whole span, or of its memory. WHOLE: a
// span is a whole sequence, and its keys are appended before they are read.
#ifdef MEMORY
#define KEY_LIMIT(s, t) ((s)->position)
#elif defined(WHOLE)
#define KEY_LIMIT(s, t) ((s)->position + (s)->n_rows)
#else
#define KEY_LIMIT(s, t) ((s)->position + (t) + 1)
#endif

// Finds block number `group` among the query blocks of all spans, for one KV head. False if there are fewer. The last
// rows of a span come first, because they have the most keys.
INLINE bool find_block(row_span *s, query_block *b, const global uint *spans, uint group)
{
	for (uint i = 0; i < count_spans(spans); i++) {
		*s = load_span(spans, i);
		uint n_blocks = (b->n_own * s->n_rows + QUERIES - 1) / QUERIES;
		if (group < n_blocks) {
			b->first = (n_blocks - 1 - group) * QUERIES;
			return true;
		}
		group -= n_blocks;
	}
	return false;
}
