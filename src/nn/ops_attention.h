/* ops_attention.h - attention on one rank: its kernels, built for one set of head shapes. Everything here only
 * enqueues. */
#ifndef EVN_OPS_ATTENTION_H
#define EVN_OPS_ATTENTION_H

#include "nn/matrix.h"

typedef struct evn_attention_ops evn_attention_ops;

typedef struct {
	uint32_t head_dim, rope_dim;
	bool rope_neox; /* pairs (i, i + rope_dim/2) instead of (2i, 2i+1) */
	bool qk_norm;
	uint32_t items; /* work-items that share a head, a power of two; 0: as suits the device */
} evn_attention_config;

/* Heads lie this many floats apart in rotated queries and in the KV cache. */
static inline uint32_t evn_head_pad(uint32_t head_dim) { return (uint32_t)evn_round_up(head_dim, 16); }

evn_status evn_attention_ops_create(evn_attention_ops **out, evn_queue *q, const evn_attention_config *config,
									evn_error *err);
void evn_attention_ops_free(evn_attention_ops *ops);

/* Where one rank keeps what attention works on; offsets in columns of qkv. */
typedef struct {
	uint32_t n_heads, n_kv;        /* local */
	uint32_t first_head, first_kv; /* global index of the first local one */
	uint32_t group;                /* query heads per KV head, global */
	uint32_t n_ctx, position;      /* of the first token of the batch */
	uint32_t k_offset, v_offset, qkv_stride;
} evn_attention;

/* q (n_tok, n_heads, head_pad) = rotated queries; k and v go to the caches (n_kv, n_ctx, head_pad). rope: table of
 * (n_ctx, rope_dim/2, 2) cos, sin. q_norm, k_norm (head_dim): only where config.qk_norm, else NULL. */
evn_status evn_op_rope_append(evn_attention_ops *ops, evn_buf *q, evn_buf *k_cache, evn_buf *v_cache,
							  const evn_buf *qkv, const evn_buf *rope, const evn_buf *q_norm, const evn_buf *k_norm,
							  float norm_eps, const evn_attention *a, uint32_t n_tok, evn_error *err);
/* out (n_tok, out_stride) from column out_offset on: softmax(q K^T / sqrt(head_dim)) V, causal, heads head_dim apart;
 * the other columns become zeros. */
evn_status evn_op_attention(evn_attention_ops *ops, evn_buf *out, uint32_t out_stride, uint32_t out_offset,
							const evn_buf *q, const evn_buf *k_cache, const evn_buf *v_cache, const evn_attention *a,
							uint32_t n_tok, evn_error *err);

#endif
