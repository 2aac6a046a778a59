/* ops.h - one launcher per operation. An evn_ops holds one queue's kernels, built at first use;
 * buffers are activation matrices as matrix.h describes them. Everything here only enqueues. */
#ifndef EVN_OPS_H
#define EVN_OPS_H

#include "nn/dot.h"
#include "nn/matrix.h"
#include "nn/norm.h"

typedef struct evn_ops evn_ops;

typedef struct {
	evn_dot dot;    /* how products with integer weights multiply; EVN_DOT_NONE: activations stay f32 */
	uint32_t items; /* work-items that share a row or tile, a power of two; 0: as suits the device */
	bool runs;      /* blocks of tokens in runs (kernels/blocks.cl) over any weights, not only those beyond a cache */
} evn_ops_config;

evn_status evn_ops_create(evn_ops **out, evn_queue *q, const evn_ops_config *config, evn_error *err);
void evn_ops_free(evn_ops *ops);

/* Whether rows of prompts are dequantised and multiplied by CLBlast; else, and where a row is decoded, kernels read
 * the quantised blocks. */
void evn_ops_set_gemm(evn_ops *ops, bool prompts_by_gemm);

/* n rows, and what they are (nn/batch.h). A row's result depends on the phase, never on n. */
typedef struct {
	uint32_t n;
	evn_phase phase;
} evn_rows;

/* Kernels work on blocks of EVN_BLOCK_TOKENS rows. Where n > 1 is no multiple, they also read and write the rows up
 * to the next one: every activation matrix has memory for so many. */

/* Whoever writes what a product reads is told the format that it needs: the format in which evn_op_linear and
 * evn_op_gate_up read x. */
evn_act_format evn_op_act_format(const evn_ops *ops, const evn_matrix *m, evn_phase phase);

/* y (n, y_stride) columns [0, m->rows) = x (n, x_stride) W^T + additions + bias; x_stride >= m->columns. */
evn_status evn_op_linear(evn_ops *ops, evn_buf *y, uint32_t y_stride, const evn_buf *x, uint32_t x_stride,
						 const evn_matrix *m, evn_rows rows, evn_error *err);
/* The two that evn_op_linear chooses from, without additions and bias, are evn_op_gemm (ops_gemm.h) and this. */
evn_status evn_op_quantised(evn_ops *ops, evn_buf *y, uint32_t y_stride, evn_act_format format, const evn_buf *x,
							uint32_t x_stride, const evn_matrix *m, uint32_t n_tok, evn_error *err);

/* What stands before W_out in a gated feed-forward block: y (n, y_stride) = silu(x G^T) * x U^T in the format asked
 * for, where m stacks G and U, whose rows begin at up_offset; zeros in the columns beyond. By kernels of its own
 * where G and U are of one format, have no bias and no GEMM is used; else by way of gate_up (n, gate_up_stride). */
evn_status evn_op_gate_up(evn_ops *ops, evn_act_format y_format, evn_buf *y, uint32_t y_stride, const evn_buf *x,
						  uint32_t x_stride, const evn_matrix *m, uint32_t up_offset, evn_buf *gate_up,
						  uint32_t gate_up_stride, evn_rows rows, evn_error *err);

/* norm->y = norm of the rows first .. first + n_tok of x (.., stride). */
evn_status evn_op_norm(evn_ops *ops, const evn_norm *norm, const evn_buf *x, uint32_t first, uint32_t n_tok,
					   uint32_t stride, evn_error *err);
/* y (n_tok, stride) = x (n_tok, stride), f32, in another format. */
evn_status evn_op_store(evn_ops *ops, evn_act_format y_format, evn_buf *y, const evn_buf *x, uint32_t stride,
						uint32_t n_tok, evn_error *err);
/* y[t][i] = silu(gu[t][i]) * gu[t][up_offset + i], i < width; zeros up to y_stride. width a multiple of 16. */
evn_status evn_op_swiglu(evn_ops *ops, evn_act_format y_format, evn_buf *y, uint32_t y_stride, const evn_buf *gu,
						 uint32_t gu_stride, uint32_t up_offset, uint32_t width, uint32_t n_tok, evn_error *err);
/* y[t][i] = gelu(x[t][i]), i < width; zeros up to y_stride. width a multiple of 16. */
evn_status evn_op_gelu(evn_ops *ops, evn_act_format y_format, evn_buf *y, uint32_t y_stride, const evn_buf *x,
					   uint32_t x_stride, uint32_t width, uint32_t n_tok, evn_error *err);
/* A fraction of the elements, each drawn by its place and the key alone, becomes zeros; the others count the more. */
typedef struct {
	float fraction; /* in [0, 1) */
	uint64_t key;
} evn_dropout;
/* y (n values, a multiple of 16) = scale times what is left of x, which may be y. The same function of dy is the
 * gradient. */
evn_status evn_op_dropout(evn_ops *ops, evn_buf *y, const evn_buf *x, uint64_t n, const evn_dropout *d, float scale,
						  evn_error *err);
/* y (n_tok, stride) += b (width) in columns [0, width); width a multiple of 16. */
evn_status evn_op_add_bias(evn_ops *ops, evn_buf *y, uint32_t stride, const evn_buf *b, uint32_t width,
						   uint32_t n_tok, evn_error *err);

#endif
