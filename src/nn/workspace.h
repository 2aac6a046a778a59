/* workspace.h - what a rank needs to compute a step: queue and kernels, rows of activations, tables of rotary angles.
 * Nothing in it outlives a step. Its size follows the rows, not the weights. It serves one step at a time. */
#ifndef EVN_WORKSPACE_H
#define EVN_WORKSPACE_H

#include "nn/ops.h"
#include "nn/ops_attention.h"
#include "nn/ops_experts.h"
#include "nn/shard.h"

typedef struct {
	uint32_t n_ctx;   /* the longest sequence */
	uint32_t n_batch; /* the most rows of one step */
	uint32_t n_cache; /* positions of all sequences in the KV cache; used by evn_graph_shape, 0: n_ctx */
	evn_dot dot;      /* the dot kind of products with integer weights */
	evn_kv_cache kv_cache;
	evn_message_type messages; /* the format of packed messages; used by evn_graph_shape */
} evn_limits;

/* The micro-batches of a step that can be in flight at once. */
#define EVN_MICRO_BATCHES 2u

/* Logits are computed for at most this many rows at once, because a vocabulary is wide. */
#define EVN_LOGITS_ROWS 16u

/* Rows that outlive a block. Each micro-batch has its own. */
typedef struct {
	evn_buf *x, *normed; /* (rows, dim_stride) */
	evn_buf *aside;      /* the same; NULL if no sums go aside */
	evn_buf *sent;       /* (rows, evn_graph_row_floats), if that is more than the embedding; otherwise NULL */
	evn_buf *table;      /* the row table of its spans on the device (ops_attention.h) */
	uint32_t *words;     /* the same on the host */
	uint64_t n_words;    /* the room of both, in words */
	evn_buf *runs;       /* of its sequences with states (ops_delta.h); NULL if there are none */
	uint32_t *run_words;
} evn_row_buffers;

/* The rows between the two matrices of a block. All blocks of one kind share them. */
typedef struct {
	evn_buf *in, *mid; /* the output of W_in: queries, keys and values, or gate and up; the input of W_out */
	uint32_t in_stride, mid_stride;
} evn_inner_rows;

typedef struct {
	evn_queue *q;
	evn_ops *ops;
	const evn_graph *graph;
	evn_limits limits;
	uint32_t dim_stride; /* the stride of x, normed and partial sums */
	uint32_t n_kinds;    /* of attention blocks; each has its own kernels */
	evn_attention_ops **attention;
	/* Of attention over a latent vector, for all heads; or NULL: rows as attention reads them, its output, normed
	 * latent vectors of queries before and after they are stored, and their heads */
	evn_buf *latent_rows, *latent_out, *query_latent, *query_stored, *query_heads;
	uint32_t latent_stride, query_latent_stride, query_heads_stride;
	evn_buf *projected; /* (rows, projected_stride): of inputs of layers or of patches; or NULL */
	uint32_t projected_stride;
	evn_buf *patches, *stored_patches; /* (rows, patch_stride), before and after they are stored; or NULL */
	uint32_t patch_stride;
	evn_buf *ropes[EVN_ROPES]; /* of the graph's ropes: (n_ctx, rope.dim) */
	evn_buf *still;            /* (1, rope.dim): the angle 0, for blocks without rotation */
	evn_row_buffers rows[EVN_MICRO_BATCHES];
	evn_row_buffers memories[EVN_MICRO_BATCHES]; /* row tables of the spans' memories; without rows */
	evn_inner_rows of[EVN_BLOCK_KINDS];
	evn_routing routing;            /* the buffers of any block's choice of experts */
	evn_buf *gathered, *of_experts; /* (evn_expert_rows, dim_stride): what experts read and write; or NULL */
	evn_buf *picked, *logits;
	/* Of models with DeltaNets: f32 outputs of heads before they are stored; the gates of attention; alpha and beta.
	 */
	evn_buf *unstored, *gates, *alpha_beta;
	evn_buf *squares; /* (rows, EVN_HEAD_SUMS): sums inside blocks; NULL if there are none */
	uint32_t logits_stride;
	bool finds_top;     /* on the device (top.h) */
	evn_buf *top;       /* (EVN_LOGITS_ROWS, slices, EVN_TOP_MOST); NULL until it is needed, like the next */
	float *host_logits; /* (EVN_LOGITS_ROWS, logits_stride) of a rank that finds the largest on the host */
	evn_span *spans;    /* (2, n_batch + 1) spans of the step's micro-batches; the same for their memories */
} evn_workspace;

/* Makes a workspace for steps over any view of s, through q. */
evn_status evn_workspace_create(evn_workspace **out, evn_queue *q, const evn_shard *s, evn_limits limits,
								evn_error *err);
void evn_workspace_free(evn_workspace *w);
/* Makes room for a block of other weights, and for another head (either may be NULL), between two steps. */
evn_status evn_workspace_fit(evn_workspace *w, evn_block_kind kind, const evn_shard_block *block,
							 const evn_matrix *head, evn_error *err);

/* The kernels for an attention block. */
evn_attention_ops *evn_workspace_attention(const evn_workspace *w, const evn_block *b);
/* The configuration of a block's attention. */
evn_attention_config evn_attention_config_of(const evn_graph *g, const evn_block *b, evn_kv_cache kv_cache);

/* The most rows that the experts of a block multiply in a step of n rows, over all blocks; 0: there are none. */
uint32_t evn_graph_expert_rows(const evn_graph *g, uint32_t n);
/* The rows for which memory is needed if n are computed, because kernels work on whole blocks of rows. */
static inline uint32_t evn_rows_room(uint32_t n) { return (uint32_t)evn_round_up(n, EVN_BLOCK_TOKENS); }
/* The length of the longest all-reduce message, in floats. */
uint64_t evn_message_floats(const evn_hparams *h, uint32_t n_batch);
/* Makes rows of activations. They are cleared, because the columns between width and stride must be zeros and nothing
 * writes them later. If the stride is 0, no rows are made. */
evn_status evn_workspace_rows(const evn_workspace *w, evn_buf **out, uint32_t n_rows, uint32_t stride,
							  const char *what, evn_error *err);
/* Makes room for a row table of n_words. */
evn_status evn_row_buffers_reserve(evn_workspace *w, evn_row_buffers *r, uint64_t n_words, evn_error *err);

#endif
