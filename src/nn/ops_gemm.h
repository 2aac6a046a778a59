/* ops_gemm.h - products by CLBlast: those with a matrix of plain rows and their gradients, and those of prompts with
 * quantised rows, which are dequantised in pieces. All calls only enqueue. */
#ifndef EVN_OPS_GEMM_H
#define EVN_OPS_GEMM_H

#include "nn/ops.h"
#include "nn/product_times.h"

/* Says where the products by GEMM are timed from now on. NULL: they are not timed. */
void evn_ops_time(evn_ops *ops, evn_product_times *times);

/* y (n_tok, y_stride) columns [0, m->rows) = x (n_tok, x_stride) W^T, without additions and bias. */
evn_status evn_op_gemm(evn_ops *ops, evn_buf *y, uint32_t y_stride, const evn_buf *x, uint32_t x_stride,
					   const evn_matrix *m, uint32_t n_tok, evn_error *err);
/* The gradient of x: dx (n_tok, x_stride) columns [0, m->columns) = dy (n_tok, y_stride) W. */
evn_status evn_op_gemm_back(evn_ops *ops, evn_buf *dx, uint32_t x_stride, const evn_buf *dy, uint32_t y_stride,
							const evn_matrix *m, uint32_t n_tok, evn_error *err);

/* The columns of an activation matrix (n_tok, stride) from `offset` on. */
typedef struct {
	evn_buf *buf;
	uint32_t stride, offset;
} evn_columns;
/* A product of n rows, times alpha, added to beta times the output. */
typedef struct {
	const evn_plain *w;
	uint32_t n;
	float alpha, beta;
} evn_plain_product;
/* y (n, w->rows) = x (n, w->columns) W^T. */
evn_status evn_op_plain(evn_ops *ops, const evn_plain_product *p, evn_columns y, evn_columns x, evn_error *err);
/* dx = dy W. */
evn_status evn_op_plain_back(evn_ops *ops, const evn_plain_product *p, evn_columns dx, evn_columns dy,
							 evn_error *err);
/* The gradient of a matrix, written to w: dy^T x. */
evn_status evn_op_plain_gradient(evn_ops *ops, const evn_plain_product *p, evn_columns dy, evn_columns x,
								 evn_error *err);
/* y += the low-rank addition of a matrix. */
evn_status evn_op_addition(evn_ops *ops, evn_columns y, evn_columns x, const evn_addition *r, uint32_t n_tok,
						   evn_error *err);

#endif
