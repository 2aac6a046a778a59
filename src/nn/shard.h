/* shard.h - the weights that one rank holds, on its device. A shard outlives plans: what a plan uses of it is a view
 * (view.h), and any number of views may borrow one shard. */
#ifndef EVN_SHARD_H
#define EVN_SHARD_H

#include <stdatomic.h>

#include "nn/graph.h"

/* Progress of loading, shared by the threads that load: done counts bytes on the device; a set stop ends it. */
typedef struct {
	atomic_ullong done_bytes;
	atomic_bool stop;
} evn_load_progress;

typedef struct {
	evn_buf *weight, *bias; /* the bias may be NULL */
} evn_norm_weights;

/* A rank without units of a block holds nothing of it. */
typedef struct {
	evn_range units, groups; /* held */
	evn_norm_weights norm;
	evn_matrix in, out;                 /* in: stacked rows of q, k, v, or of gate and up */
	uint32_t offsets[EVN_MATRIX_PARTS]; /* where the rows of each stacked matrix begin */
	evn_buf *head_norms;                /* (2, head_dim padded to 16): of queries, of keys; or NULL */
} evn_shard_block;

typedef struct {
	const evn_graph *graph;
	bool plain;              /* matrices are rows of f32, to be trained; else tiles in the file's quantised blocks */
	evn_shard_block *blocks; /* (graph->n_blocks) */
	evn_norm_weights out_norm;
	evn_matrix head;
	evn_range vocab;
	uint64_t bytes; /* of matrices */
} evn_shard;

/* What is loaded: that which `split` gives to `rank`. */
typedef struct {
	const evn_split *split;
	uint32_t rank;
	bool plain;
	evn_load_progress *progress; /* may be NULL */
} evn_shard_part;
/* Through q. The shard borrows g. */
evn_status evn_shard_load(evn_shard **out, evn_queue *q, const evn_graph *g, const evn_shard_part *part,
						  evn_error *err);
void evn_shard_free(evn_shard *s);

#endif
