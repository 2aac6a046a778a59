/* decoder_rank.h - what decoder_load.c builds and decoder.c runs. */
#ifndef EVN_DECODER_RANK_H
#define EVN_DECODER_RANK_H

#include "nn/arch.h"
#include "nn/decoder.h"

/* The feed-forward units that steps of a phase use: windows of those that the layer holds. */
typedef struct evn_ff {
	evn_range units;
	evn_matrix gate_up;    /* or up alone */
	evn_buf *gate_up_bias; /* (gate_up.rows) */
	uint32_t up_offset;    /* 0: nothing is gated */
	evn_matrix down;
	evn_buf *down_bias;    /* only on the rank that adds it */
	uint32_t contributors; /* bit per rank */
} evn_ff;

/* One layer's part on this rank; a rank without heads (or units) has empty matrices there and skips that half. Biases
 * are NULL where there are none. */
typedef struct evn_layer {
	evn_range heads, kv_heads;
	evn_norm_weights attn_norm, ffn_norm;
	evn_matrix qkv;    /* q, k, v rows stacked */
	evn_buf *qkv_bias; /* (qkv.rows) */
	uint32_t k_offset, v_offset;
	evn_buf *q_norm, *k_norm; /* (head_dim) or NULL */
	evn_matrix attn_out;
	evn_buf *attn_out_bias;     /* only on the rank that adds it */
	uint32_t attn_contributors; /* bit per rank */
	evn_matrix gate_up, down;   /* all that it holds */
	evn_ff ff[EVN_PHASES];
} evn_layer;

/* Rows that outlive a half-layer, one set for each piece of a step that may be under way. */
typedef struct {
	evn_buf *x, *normed;
} evn_lane;

#define EVN_DECODER_LANES 2u

struct evn_decoder {
	evn_queue *q;
	evn_ops *ops;
	evn_attention_ops *attention_ops;
	const evn_hparams *h;
	const evn_arch *arch;
	uint32_t rank;
	evn_decoder_limits limits;
	uint32_t dim_stride; /* of x, norms and partials */
	uint32_t n_layers;
	evn_layer *layers;
	evn_norm_weights out_norm;
	evn_matrix head;
	evn_buf *head_bias; /* (head.rows) or NULL */
	evn_range vocab;
	evn_buf *rope;
	uint64_t weight_bytes[EVN_PHASES];
	/* scratch (n_batch, stride) */
	evn_lane lanes[EVN_DECODER_LANES];
	evn_buf *qkv, *attended, *gate_up, *gated, *logits;
	uint32_t qkv_stride, attended_stride, gate_up_stride, gated_stride;
};

#define EVN_LOGITS_TOKENS 16u /* logits are computed for at most so many tokens at once: a vocabulary is wide */

struct evn_kv {
	uint32_t n_layers;
	evn_buf **k, **v; /* [layer] (kv_heads local) times evn_kv_cache_bytes, NULL where the rank has no heads */
};

#endif
