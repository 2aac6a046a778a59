/* view.h - the ranges of a shard that one plan uses. A view has no device memory of its own and is cheap to make. */
#ifndef EVN_VIEW_H
#define EVN_VIEW_H

#include "nn/shard.h"

/* What rows of one phase use of a block. If a rank has no units, its matrices are empty and it only takes part in the
 * sum. */
typedef struct {
	evn_range units;
	uint32_t n_groups, skip;            /* KV heads; units of the first one that another rank computes */
	uint32_t first_held;                /* the first used KV head, counted in the shard */
	evn_matrix in, out;                 /* out.bias is set only on the rank that adds it */
	evn_matrix memory;                  /* of a block that crosses: the rows of keys and values, which `in` lacks */
	evn_matrix query_b;                 /* of attention whose queries come from a latent vector */
	uint32_t offsets[EVN_MATRIX_PARTS]; /* the column of y at which each stacked matrix begins */
	uint64_t ranks;                     /* one bit for each rank with units */
} evn_block_view;

typedef struct {
	const evn_shard *shard;
	uint32_t rank;
	evn_block_view *windows; /* [block * EVN_PHASES + phase] */
	/* Rows go through these blocks here; the others are on other nodes. All of them unless somebody changes it. */
	evn_range blocks;
	evn_range vocab; /* the rows of the head that the rank computes */
	evn_matrix head;
	uint32_t most_groups;            /* the largest n_groups of all windows */
	uint64_t read_bytes[EVN_PHASES]; /* bytes of the matrices that one row of the phase reads, with its logits */
} evn_view;

/* `split` must not use more of any block than the shard holds. The view borrows the shard. */
evn_status evn_view_make(evn_view **out, const evn_shard *s, const evn_split *split, uint32_t rank, evn_error *err);
void evn_view_free(evn_view *v);

static inline const evn_block_view *evn_view_block(const evn_view *v, uint32_t block, evn_phase phase)
{
	return &v->windows[(size_t)block * EVN_PHASES + phase];
}

#endif
