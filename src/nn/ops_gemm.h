/* ops_gemm.h - what is computed by CLBlast: products of a matrix of plain rows and their gradients, and rows of
 * prompts times quantised rows, which are dequantised piece by piece. Everything here only enqueues. */
#ifndef EVN_OPS_GEMM_H
#define EVN_OPS_GEMM_H

#include "nn/ops.h"
#include "nn/product_times.h"

/* Where products by GEMM are timed from now on; NULL: nowhere. */
void evn_ops_time(evn_ops *ops, evn_product_times *times);

/* y (n_tok, y_stride) columns [0, m->rows) = x (n_tok, x_stride) W^T, without additions and bias. */
evn_status evn_op_gemm(evn_ops *ops, evn_buf *y, uint32_t y_stride, const evn_buf *x, uint32_t x_stride,
					   const evn_matrix *m, uint32_t n_tok, evn_error *err);
/* dx (n_tok, x_stride) columns [0, m->columns) = dy (n_tok, y_stride) W: the gradient of x. */
evn_status evn_op_gemm_back(evn_ops *ops, evn_buf *dx, uint32_t x_stride, const evn_buf *dy, uint32_t y_stride,
							const evn_matrix *m, uint32_t n_tok, evn_error *err);

/* An activation matrix (n_tok, stride), from column `offset` on. */
typedef struct {
	evn_buf *buf;
	uint32_t stride, offset;
} evn_columns;
/* A product of n rows times alpha, added to beta times what is there. */
typedef struct {
	const evn_plain *w;
	uint32_t n;
	float alpha, beta;
} evn_plain_product;
/* y (n, w->rows) from x (n, w->columns): x W^T. */
evn_status evn_op_plain(evn_ops *ops, const evn_plain_product *p, evn_columns y, evn_columns x, evn_error *err);
/* dx from dy: dy W. */
evn_status evn_op_plain_back(evn_ops *ops, const evn_plain_product *p, evn_columns dx, evn_columns dy,
							 evn_error *err);
/* The gradient of a matrix, whose place w is: dy^T x. */
evn_status evn_op_plain_gradient(evn_ops *ops, const evn_plain_product *p, evn_columns dy, evn_columns x,
								 evn_error *err);
/* y += a matrix's low-rank addition to it. */
evn_status evn_op_addition(evn_ops *ops, evn_columns y, evn_columns x, const evn_addition *r, uint32_t n_tok,
						   evn_error *err);

#endif
