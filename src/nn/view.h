/* view.h - the windows of a shard that one plan uses: no device memory of its own, cheap to make. */
#ifndef EVN_VIEW_H
#define EVN_VIEW_H

#include "nn/shard.h"

/* What rows of one phase use of a block. A rank without units has empty matrices and only takes part in the sum. */
typedef struct {
	evn_range units;
	uint32_t n_groups, skip;            /* KV heads; units of the first that another rank computes */
	uint32_t first_held;                /* which of the shard's KV heads is the first used */
	evn_matrix in, out;                 /* out.bias only on the rank that adds it */
	uint32_t offsets[EVN_MATRIX_PARTS]; /* where the rows of each stacked matrix begin in y */
	uint64_t ranks;                     /* bit for each rank that has units */
} evn_block_view;

typedef struct {
	const evn_shard *shard;
	uint32_t rank;
	evn_block_view *windows;         /* [block * EVN_PHASES + phase] */
	uint32_t most_groups;            /* n_groups of any window */
	uint64_t read_bytes[EVN_PHASES]; /* of matrices, by one row of the phase with its logits */
} evn_view;

/* `split` uses no more of any block than the shard holds. The view borrows the shard. */
evn_status evn_view_make(evn_view **out, const evn_shard *s, const evn_split *split, uint32_t rank, evn_error *err);
void evn_view_free(evn_view *v);

static inline const evn_block_view *evn_view_block(const evn_view *v, uint32_t block, evn_phase phase)
{
	return &v->windows[(size_t)block * EVN_PHASES + phase];
}

#endif
