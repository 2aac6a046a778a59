/* shard.h - the weights that one rank holds, on its device. A shard lives longer than a plan. A view (view.h) is the
 * part of it that one plan uses; any number of views can borrow a shard. */
#ifndef EVN_SHARD_H
#define EVN_SHARD_H

#include <stdatomic.h>

#include "nn/graph.h"

/* The progress of loading, shared by the loading threads. done_bytes counts bytes on the device. Setting stop ends
 * the loading. */
typedef struct {
	atomic_ullong done_bytes;
	atomic_bool stop;
} evn_load_progress;

typedef struct {
	evn_buf *weight, *bias; /* the bias may be NULL */
} evn_norm_weights;

/* Of the held heads of a DeltaNet. The channels of the convolution are those of the held query heads, key heads and
 * value heads, one after the other. */
typedef struct {
	evn_buf *conv;  /* (taps, channels), the newest position last */
	evn_buf *decay; /* (heads) */
	evn_buf *norm;  /* (state) */
} evn_delta_parts;

/* Of the held heads: (heads * (plain + rotated), query); (heads, latent, plain) and (heads, value, latent) in f32. */
typedef struct {
	evn_matrix query_b;
	evn_buf *query_norm, *norm, *k_b, *v_b;
} evn_latent_parts;

/* The weights of one block. Empty but for `post` and `joint` if the rank has no units of it. */
typedef struct {
	evn_range units, groups; /* the held range */
	evn_norm_weights norm;
	evn_buf *post, *joint;              /* weights of norms of sums; or NULL. Ranks without units have them too */
	evn_matrix in, out;                 /* in: stacked rows of q, k, v, or of gate and up */
	uint32_t offsets[EVN_MATRIX_PARTS]; /* the row at which each stacked matrix begins */
	/* (2, head_dim padded to 16): of queries, of keys; then the sinks of the groups' query heads, or EVN_BIASES for
	 * each of them. Or the norms of all held heads of queries, then of keys. Or NULL */
	evn_buf *head_norms;
	evn_norm_weights router; /* of experts: weights as evn_router says; a bias, of zeros if there is none */
	evn_buf *router_scale;   /* of experts with scales: the weights of the router's norm; otherwise NULL */
	evn_buf *expert_scales;  /* the same: (experts padded to 32) */
	evn_buf *choice_bias;    /* of experts that are chosen with a bias: (experts padded to 32); otherwise NULL */
	evn_latent_parts latent; /* of attention over a latent vector */
	evn_delta_parts delta;   /* of a DeltaNet, which has the rows of alpha and beta of the held heads as its router */
} evn_shard_block;

typedef struct {
	const evn_graph *graph;
	bool plain; /* matrices are plain rows of f32, for training; otherwise tiles in the file's quantised blocks */
	evn_shard_block *blocks; /* (graph->n_blocks) */
	evn_norm_weights out_norm, encoder_norm;
	evn_matrix head;
	evn_matrix projection; /* evn_graph.projection, all of it on each rank; or empty */
	evn_buf *layer_norm;
	evn_range vocab;
	uint64_t bytes; /* bytes of the matrices */
} evn_shard;

/* What is loaded: the part of `rank` in `split`. */
typedef struct {
	const evn_split *split;
	uint32_t rank;
	bool plain;                  /* as in evn_shard */
	evn_load_progress *progress; /* may be NULL */
} evn_shard_part;
/* Loads through q. The shard borrows g. */
evn_status evn_shard_load(evn_shard **out, evn_queue *q, const evn_graph *g, const evn_shard_part *part,
						  evn_error *err);
void evn_shard_free(evn_shard *s);

/* For shares that change: the weights of other units of a block of the graph, and other rows of the head. They can
 * take the place of those in s, which the caller frees. */
evn_status evn_shard_load_block(evn_shard_block *out, const evn_shard *s, evn_queue *q, uint32_t block,
								evn_range units, evn_error *err);
evn_status evn_shard_load_head(evn_matrix *out, const evn_shard *s, evn_queue *q, evn_range rows, evn_error *err);
void evn_shard_block_free(evn_shard_block *b);

#endif
