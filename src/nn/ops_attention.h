/* ops_attention.h - attention on one rank over its part of the KV cache. The kernels are built for one kind of heads.
 * All calls only enqueue. */
#ifndef EVN_OPS_ATTENTION_H
#define EVN_OPS_ATTENTION_H

#include "kernels/sequences.h"
#include "nn/batch.h"
#include "nn/matrix.h"
#include "nn/norm.h"

typedef struct evn_attention_ops evn_attention_ops;

typedef struct {
	uint32_t head_dim, rope_dim;
	uint32_t group; /* query heads of one KV head */
	bool rope_neox; /* pairs (i, i + rope_dim/2) instead of (2i, 2i+1) */
	bool qk_norm;
	bool v_norm;       /* of each value head, without weights */
	bool whole;        /* a query sees all keys of its span, which is a whole sequence */
	bool windowed;     /* a query sees only evn_attention.window keys */
	bool soft_capped;  /* scores are capped by evn_attention.soft_cap */
	bool sinks;        /* the softmax of a head has one more score, without a value */
	bool query_scales; /* rows of the rope table end with a factor of the query */
	bool biased;       /* a score has a bias by the distance of key and query */
	bool crosses;      /* queries see all keys of a memory, which evn_op_append has written */
	evn_kv_cache kv_cache;
	uint32_t splits; /* parts of a decoded row's keys that are computed in parallel; 0: chosen for the device */
} evn_attention_config;

/* The bytes of the keys, or of the values, of one KV head in one cache block. */
uint64_t evn_kv_block_bytes(evn_kv_cache format, uint32_t head_dim);

/* The most scratch bytes that a step of n_rows decoded rows needs if keys are divided into parts. */
uint64_t evn_attention_split_bytes(uint32_t head_dim, uint32_t n_heads, uint32_t n_rows, uint32_t n_ctx);

evn_status evn_attention_ops_create(evn_attention_ops **out, evn_queue *q, const evn_attention_config *config,
									evn_error *err);
void evn_attention_ops_free(evn_attention_ops *ops);
const evn_attention_config *evn_attention_ops_config(const evn_attention_ops *ops);

/* Rows of one phase that go through attention together. Their spans are in device memory as a row table
 * (kernels/heads.cl). n_splits[i] is the number of parts of span i's keys; it follows only from the span's own
 * length. */
typedef struct {
	uint32_t n_rows, n_spans;
	const evn_span *spans;
	evn_phase phase;
	evn_buf *table;
	uint32_t most_splits;
	bool has_row_pairs; /* two spans belong to one sequence */
	bool of_memory;     /* slots are those of memories, and a span's position is the number of its memory's keys */
} evn_row_set;

/* The words of a row table for n_spans spans whose slots have n_blocks cache blocks in all. */
uint64_t evn_row_table_words(uint32_t n_spans, uint64_t n_blocks);
/* Fills words, which the caller writes to rows->table, and sets rows->most_splits and has_row_pairs. n_kv: the KV
 * heads that this rank computes. Rows are counted from the first row of the first span. */
void evn_row_table_fill(const evn_attention_ops *ops, evn_row_set *rows, uint32_t n_kv, uint32_t *words);

/* The memory that one rank's attention works on. Offsets are columns of qkv. */
typedef struct {
	uint32_t n_heads, n_kv; /* on this rank */
	uint32_t skip;          /* query heads of the rank's first KV head that another rank computes */
	uint32_t n_kv_held;     /* KV heads in the caches */
	uint32_t first_held;    /* the first of them that is computed */
	const evn_buf *qkv;     /* (n_rows, qkv_stride): heads of q at column 0, head_dim apart */
	uint32_t qkv_stride, k_offset, v_offset;
	const evn_buf *rope;  /* the table of evn_rope_table */
	uint32_t rope_stride; /* floats from one position to the next; 0: one row for all positions */
	/* (2, head_dim padded to 16): of queries, of keys; then a sink for each query head of the n_kv_held KV heads, or
	 * EVN_BIASES. NULL without config.qk_norm, config.sinks and config.biased */
	const evn_buf *norms;
	float norm_eps, scale;
	uint32_t window; /* keys that a query sees, its own included */
	float soft_cap;
	bool shares;                /* the keys and values of the rows are in the caches, and qkv has queries only */
	evn_buf *k_cache, *v_cache; /* (n_blocks, n_kv_held) times evn_kv_block_bytes */
} evn_attention;

/* Rotates queries and keys and appends keys and values to the caches, unless a->shares. out (n_rows, out_stride), in
 * the given format, from column out_offset on = causal softmax(scale q K^T) V, heads head_dim apart. The other
 * columns become zeros. */
evn_status evn_op_attention(evn_attention_ops *ops, evn_act_format format, evn_buf *out, uint32_t out_stride,
							uint32_t out_offset, const evn_attention *a, const evn_row_set *rows, evn_error *err);

/* Only appends the keys and values of the rows to the caches. */
evn_status evn_op_append(evn_attention_ops *ops, const evn_attention *a, const evn_row_set *rows, evn_error *err);

/* ---- whole sequences, without a cache; for heads without norms ------------------------------------------------- */

/* Rotates queries and keys of qkv in place by their positions, or back, which is the gradient. rope: the table of
 * evn_rope_table. */
evn_status evn_op_rotate(evn_attention_ops *ops, evn_buf *qkv, const evn_sequences *s, const evn_buf *rope, bool back,
						 evn_error *err);
/* out = causal attention over the rotated qkv; its other columns become zeros. lse (n_tok, n_heads) = the logarithm
 * of the sum of the exponentials of each query's scores, which the gradient needs. */
evn_status evn_op_attention_sequences(evn_attention_ops *ops, evn_buf *out, evn_buf *lse, const evn_buf *qkv,
									  const evn_sequences *s, evn_error *err);
/* Sets the defines of kernels/head_dims.cl, for other kernels that work on these heads. */
void evn_spec_heads(evn_spec *spec, const evn_attention_config *heads);

#endif
