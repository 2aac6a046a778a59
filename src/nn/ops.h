/* ops.h - one launcher per operation. An evn_ops holds one queue's kernels, built at first use; buffers are f32
 * activation matrices as matrix.h describes them. Everything here only enqueues. */
#ifndef EVN_OPS_H
#define EVN_OPS_H

#include "nn/matrix.h"

typedef struct evn_ops evn_ops;

typedef struct {
	uint32_t items; /* work-items that share a row or tile, a power of two; 0: as suits the device */
} evn_ops_config;

evn_status evn_ops_create(evn_ops **out, evn_queue *q, const evn_ops_config *config, evn_error *err);
void evn_ops_free(evn_ops *ops);
uint32_t evn_ops_items(const evn_ops *ops); /* of the configuration, or as suits the device */

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
/* dx (n_tok, x_stride) columns [0, m->columns) = dy (n_tok, y_stride) W: the gradient of x. By GEMM. */
evn_status evn_op_gemm_back(evn_ops *ops, evn_buf *dx, uint32_t x_stride, const evn_buf *dy, uint32_t y_stride,
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

#endif
