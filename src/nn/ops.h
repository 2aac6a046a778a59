/* ops.h - one launcher per operation. An evn_ops holds one queue's kernels, built at first use, for one set of head
 * shapes; buffers are f32 activation matrices as matrix.h describes them. Everything here only enqueues. */
#ifndef EVN_OPS_H
#define EVN_OPS_H

#include "nn/matrix.h"

typedef struct evn_ops evn_ops;

typedef struct {
	uint32_t head_dim, rope_dim;
	bool rope_neox; /* pairs (i, i + rope_dim/2) instead of (2i, 2i+1) */
	bool qk_norm;
	uint32_t items; /* work-items that share a row, tile or head, a power of two; 0: as suits the device */
} evn_ops_config;

/* Heads lie this many floats apart in rotated queries and in the KV cache. */
static inline uint32_t evn_head_pad(uint32_t head_dim) { return (uint32_t)evn_round_up(head_dim, 16); }

evn_status evn_ops_create(evn_ops **out, evn_queue *q, const evn_ops_config *config, evn_error *err);
void evn_ops_free(evn_ops *ops);

/* From n_tok tokens on evn_op_linear dequantises and multiplies by CLBlast; below, kernels read the quantised blocks.
 * UINT32_MAX: never. */
void evn_ops_set_gemm_from(evn_ops *ops, uint32_t n_tok);

/* y (n_tok, y_stride) columns [0, m->rows) = x (n_tok, x_stride) W^T; x_stride >= m->columns. */
evn_status evn_op_linear(evn_ops *ops, evn_buf *y, uint32_t y_stride, const evn_buf *x, uint32_t x_stride,
						 const evn_matrix *m, uint32_t n_tok, evn_error *err);
/* The two ways evn_op_linear chooses from, for measuring and testing. */
evn_status evn_op_quantised(evn_ops *ops, evn_buf *y, uint32_t y_stride, const evn_buf *x, uint32_t x_stride,
							const evn_matrix *m, uint32_t n_tok, evn_error *err);
evn_status evn_op_gemm(evn_ops *ops, evn_buf *y, uint32_t y_stride, const evn_buf *x, uint32_t x_stride,
					   const evn_matrix *m, uint32_t n_tok, evn_error *err);

/* y (n_tok, stride) = RMS-normed rows first .. first + n_tok of x (.., stride), times w (stride). */
evn_status evn_op_rmsnorm(evn_ops *ops, evn_buf *y, const evn_buf *x, uint32_t first, uint32_t n_tok,
						  const evn_buf *w, uint32_t stride, uint32_t dim, float eps, evn_error *err);
/* y[t][i] = silu(gu[t][i]) * gu[t][up_offset + i], i < width; zeros up to y_stride. width a multiple of 16. */
evn_status evn_op_swiglu(evn_ops *ops, evn_buf *y, uint32_t y_stride, const evn_buf *gu, uint32_t gu_stride,
						 uint32_t up_offset, uint32_t width, uint32_t n_tok, evn_error *err);
/* y (n_tok, stride) += b (width) in columns [0, width); width a multiple of 16. */
evn_status evn_op_add_bias(evn_ops *ops, evn_buf *y, uint32_t stride, const evn_buf *b, uint32_t width,
						   uint32_t n_tok, evn_error *err);

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
evn_status evn_op_rope_append(evn_ops *ops, evn_buf *q, evn_buf *k_cache, evn_buf *v_cache, const evn_buf *qkv,
							  const evn_buf *rope, const evn_buf *q_norm, const evn_buf *k_norm, float norm_eps,
							  const evn_attention *a, uint32_t n_tok, evn_error *err);
/* out (n_tok, out_stride) from column out_offset on: softmax(q K^T / sqrt(head_dim)) V, causal, heads head_dim apart;
 * the other columns become zeros. */
evn_status evn_op_attention(evn_ops *ops, evn_buf *out, uint32_t out_stride, uint32_t out_offset, const evn_buf *q,
							const evn_buf *k_cache, const evn_buf *v_cache, const evn_attention *a, uint32_t n_tok,
							evn_error *err);

#endif
