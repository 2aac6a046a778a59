/* linear.h - the gradients of one matrix, y = x W^T + bias. W is either plain rows that are trained, or quantised
 * rows that are not trained, with low-rank additions that are. */
#ifndef EVN_LINEAR_H
#define EVN_LINEAR_H

#include "nn/ops_gemm.h"
#include "train/backward.h"
#include "train/param.h"

/* What is trained of a matrix. A parameter that is not trained has no pieces. One of which this rank holds nothing
 * has no buffers. */
typedef struct {
	const evn_matrix *m;
	evn_param weight, bias;
	uint32_t n_additions;
	evn_param a[EVN_MATRIX_PARTS], b[EVN_MATRIX_PARTS];
	evn_addition additions[EVN_MATRIX_PARTS]; /* a and b as m knows them */
} evn_linear;

/* The means to compute gradients on one rank. */
typedef struct {
	evn_ops *ops;
	evn_backward *backward;
	evn_buf *d_low; /* (n_tok, padded LoRA rank), or NULL */
} evn_gradient_ops;

/* dx = the gradient of x (n_tok, stride) from dy (n_tok, stride). The gradients of what is trained are added to what
 * is there. */
evn_status evn_linear_backward(const evn_linear *l, const evn_gradient_ops *o, evn_buf *dx, evn_columns x,
							   evn_columns dy, uint32_t n_tok, evn_error *err);
void evn_linear_free(evn_linear *l);

#endif
