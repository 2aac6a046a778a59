/* ops_attention.h - attention on one rank, over a KV cache in one of its formats: kernels built for one set of head
 * shapes. Everything here only enqueues. */
#ifndef EVN_OPS_ATTENTION_H
#define EVN_OPS_ATTENTION_H

#include "nn/matrix.h"

typedef struct evn_attention_ops evn_attention_ops;

typedef struct {
	uint32_t head_dim, rope_dim;
	uint32_t group; /* query heads to a KV head */
	bool rope_neox; /* pairs (i, i + rope_dim/2) instead of (2i, 2i+1) */
	bool qk_norm;
	evn_kv_cache kv_cache;
	uint32_t items; /* work-items that share a head, a power of two; 0: as suits the device */
	uint32_t
		splits; /* parts of the keys that are attended to side by side; 0: as suits the device and their number */
} evn_attention_config;

/* Bytes of the keys, or of the values, of one KV head: whole blocks of 256 positions (kernels/heads.cl). */
uint64_t evn_kv_cache_bytes(evn_kv_cache format, uint32_t head_dim, uint32_t n_ctx);

/* Most bytes of scratch that a step of n_tok tokens needs for keys that are attended to in several parts. */
uint64_t evn_attention_split_bytes(uint32_t head_dim, uint32_t n_heads, uint32_t n_tok, uint32_t n_ctx);

evn_status evn_attention_ops_create(evn_attention_ops **out, evn_queue *q, const evn_attention_config *config,
									evn_error *err);
void evn_attention_ops_free(evn_attention_ops *ops);

/* Where one rank keeps what attention works on; offsets in columns of qkv. */
typedef struct {
	uint32_t n_heads, n_kv;        /* local */
	uint32_t first_head, first_kv; /* global index of the first local one */
	uint32_t position;             /* of the first token of the batch */
	const evn_buf *qkv;            /* (n_tok, qkv_stride): heads of q at column 0, head_dim apart */
	uint32_t qkv_stride, k_offset, v_offset;
	const evn_buf *rope;            /* table as evn_rope_table makes it */
	const evn_buf *q_norm, *k_norm; /* (head_dim), only where config.qk_norm, else NULL */
	float norm_eps;
	evn_buf *k_cache, *v_cache; /* (n_kv) times evn_kv_cache_bytes */
} evn_attention;

/* Rotates queries and keys, appends keys and values to the caches, and
 * out (n_tok, out_stride), in the form asked for, from column out_offset on = softmax(q K^T / sqrt(head_dim)) V,
 * causal, heads head_dim apart; the other columns become zeros. */
evn_status evn_op_attention(evn_attention_ops *ops, evn_form form, evn_buf *out, uint32_t out_stride,
							uint32_t out_offset, const evn_attention *a, uint32_t n_tok, evn_error *err);

#endif
