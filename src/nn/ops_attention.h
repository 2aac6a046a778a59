/* ops_attention.h - attention on one rank over its part of the KV cache: kernels built for one kind of heads.
 * Everything here only enqueues. */
#ifndef EVN_OPS_ATTENTION_H
#define EVN_OPS_ATTENTION_H

#include "kernels/sequences.h"
#include "nn/batch.h"
#include "nn/matrix.h"
#include "nn/norm.h"

typedef struct evn_attention_ops evn_attention_ops;

typedef struct {
	uint32_t head_dim, rope_dim;
	uint32_t group; /* query heads to a KV head */
	bool rope_neox; /* pairs (i, i + rope_dim/2) instead of (2i, 2i+1) */
	bool qk_norm;
	evn_kv_cache kv_cache;
	uint32_t items;  /* work-items that share a head, a power of two; 0: as suits the device */
	uint32_t splits; /* parts of a decoded row's keys that are attended to side by side; 0: as suits the device */
} evn_attention_config;

/* Bytes of the keys, or of the values, of one KV head in one block of positions. */
uint64_t evn_kv_block_bytes(evn_kv_cache format, uint32_t head_dim);

/* Most bytes of scratch that a step of n_tok tokens needs for keys that are attended to in several parts. */
uint64_t evn_attention_split_bytes(uint32_t head_dim, uint32_t n_heads, uint32_t n_tok, uint32_t n_ctx);

/* Most bytes of scratch that a step of n_rows decoded rows needs for keys that are attended to in several parts. */
uint64_t evn_attention_split_bytes(uint32_t head_dim, uint32_t n_heads, uint32_t n_rows, uint32_t n_ctx);

evn_status evn_attention_ops_create(evn_attention_ops **out, evn_queue *q, const evn_attention_config *config,
									evn_error *err);
void evn_attention_ops_free(evn_attention_ops *ops);
const evn_attention_config *evn_attention_ops_config(const evn_attention_ops *ops);

/* Rows that go through attention together, all of one phase, and their spans in the device's memory as kernels read
 * them (kernels/heads.cl). n_splits[i]: parts of span i's keys; they follow from the span's own length alone. */
typedef struct {
	uint32_t n_rows, n_spans;
	const evn_span *spans;
	evn_phase phase;
	evn_buf *table;
	uint32_t most_splits;
} evn_row_set;

/* Words of a table for n_spans spans whose slots have n_blocks blocks together. */
uint64_t evn_row_table_words(uint32_t n_spans, uint64_t n_blocks);
/* Fills words, to be written to rows->table, and rows->most_splits; n_kv: KV heads that this rank computes. Rows are
 * counted from the first span's first. */
void evn_row_table_fill(const evn_attention_ops *ops, evn_row_set *rows, uint32_t n_kv, uint32_t *words);

/* Where one rank keeps what attention works on; offsets in columns of qkv. */
typedef struct {
	uint32_t n_heads, n_kv; /* computed here */
	uint32_t skip;          /* heads of the first KV head here that another rank computes */
	uint32_t n_kv_held;     /* KV heads in the caches */
	uint32_t first_held;    /* which of these is the first computed */
	const evn_buf *qkv;     /* (n_rows, qkv_stride): heads of q at column 0, head_dim apart */
	uint32_t qkv_stride, k_offset, v_offset;
	const evn_buf *rope;  /* table as evn_rope_table makes it */
	uint32_t rope_stride; /* floats from one position to the next; 0: one row serves all */
	const evn_buf *norms; /* (2, head_dim padded to 16): of q and of k; only where config.qk_norm, else NULL */
	float norm_eps, scale;
	evn_buf *k_cache, *v_cache; /* (n_blocks, n_kv_held) times evn_kv_block_bytes */
} evn_attention;

/* Rotates queries and keys, appends keys and values to the caches, and
 * out (n_rows, out_stride), in the format asked for, from column out_offset on = softmax(scale q K^T) V, causal,
 * heads head_dim apart; the other columns become zeros. */
evn_status evn_op_attention(evn_attention_ops *ops, evn_act_format format, evn_buf *out, uint32_t out_stride,
							uint32_t out_offset, const evn_attention *a, const evn_row_set *rows, evn_error *err);

/* ---- whole sequences, without a cache; for heads without norms ----------------------------------------------------
 */

/* Rotates queries and keys of qkv in place by their positions, or back: the gradient. rope as evn_rope_table makes
 * it. */
evn_status evn_op_rotate(evn_attention_ops *ops, evn_buf *qkv, const evn_sequences *s, const evn_buf *rope, bool back,
						 evn_error *err);
/* out = causal attention over rotated qkv; its other columns become zeros. lse (n_tok, n_heads): the logarithm of the
 * sum of the exponentials of each query's scores, for the gradient. */
evn_status evn_op_attention_sequences(evn_attention_ops *ops, evn_buf *out, evn_buf *lse, const evn_buf *qkv,
									  const evn_sequences *s, evn_error *err);
/* The defines of kernels/head_dims.cl, for kernels that go with these. */
void evn_spec_heads(evn_spec *spec, const evn_attention_config *heads);

#endif
