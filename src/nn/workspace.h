/* workspace.h - what a rank needs to compute a step and nobody keeps afterwards: its queue and kernels, rows of
 * activations, tables of rotary angles. Sized by rows, not by weights; one step at a time. */
#ifndef EVN_WORKSPACE_H
#define EVN_WORKSPACE_H

#include "nn/ops.h"
#include "nn/ops_attention.h"
#include "nn/shard.h"

typedef struct {
	uint32_t n_ctx;   /* longest sequence */
	uint32_t n_batch; /* most rows of one step */
	evn_dot dot;      /* how this rank multiplies by integer weights */
	evn_kv_cache kv_cache;
	evn_message_type messages; /* how packed messages between ranks travel; for evn_graph_shape */
} evn_limits;

/* Micro-batches of a step that may be under way at once. */
#define EVN_MICRO_BATCHES 2u

/* Logits are computed for at most so many rows at once: a vocabulary is wide. */
#define EVN_LOGITS_ROWS 16u

/* Rows that outlive a block, one set for each micro-batch. */
typedef struct {
	evn_buf *x, *normed; /* (rows, dim_stride) */
	evn_buf *table;      /* of its spans (ops_attention.h), for the device */
	uint32_t *words;     /* and on the host */
	uint64_t n_words;    /* room in both */
} evn_row_buffers;

typedef struct {
	evn_queue *q;
	evn_ops *ops;
	const evn_graph *graph;
	evn_limits limits;
	uint32_t dim_stride; /* of x, normed and partial sums */
	uint32_t n_kinds;    /* of attention blocks: one set of kernels each */
	evn_attention_ops **attention;
	evn_buf *rope;  /* (n_ctx, rope_dim) */
	evn_buf *still; /* (1, rope_dim): the angle 0, for blocks that do not rotate */
	evn_row_buffers rows[EVN_MICRO_BATCHES];
	evn_buf *qkv, *attended, *gate_up, *gated, *picked, *logits;
	uint32_t qkv_stride, attended_stride, gate_up_stride, gated_stride, logits_stride;
	evn_span *spans; /* (n_batch + 1) of the step's micro-batches */
} evn_workspace;

/* For steps over any view of s, through q. */
evn_status evn_workspace_create(evn_workspace **out, evn_queue *q, const evn_shard *s, evn_limits limits,
								evn_error *err);
void evn_workspace_free(evn_workspace *w);

/* The kernels for an attention block. */
evn_attention_ops *evn_workspace_attention(const evn_workspace *w, const evn_block *b);
/* How a block's heads attend. */
evn_attention_config evn_attention_config_of(const evn_graph *g, const evn_block *b, evn_kv_cache kv_cache);

/* Rows that memory is needed for where n are computed: kernels work on whole blocks of rows. */
static inline uint32_t evn_rows_room(uint32_t n) { return (uint32_t)evn_round_up(n, EVN_BLOCK_TOKENS); }
/* Longest all-reduce message in floats. */
uint64_t evn_message_floats(const evn_hparams *h, uint32_t n_batch);
/* Room for a row table of these spans. */
evn_status evn_row_buffers_reserve(evn_workspace *w, evn_row_buffers *r, uint64_t n_words, evn_error *err);

#endif
