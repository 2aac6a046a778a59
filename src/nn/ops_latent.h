/* ops_latent.h - the operations of attention over a latent vector (kernels/latent.cl). All calls only enqueue. */
#ifndef EVN_OPS_LATENT_H
#define EVN_OPS_LATENT_H

#include "nn/ops.h"

/* Columns of an activation matrix from `first` on. */
typedef struct {
	const evn_buf *rows;
	uint32_t stride, first;
} evn_columns_of;

typedef struct {
	const evn_buf *w;
	uint32_t n;
	float eps;
} evn_latent_norm;

/* y (n_rows, stride) = the RMS norm of norm->n columns of x, and zeros. */
evn_status evn_op_norm_latent(evn_ops *ops, evn_buf *y, uint32_t stride, const evn_columns_of *x,
							  const evn_latent_norm *norm, uint32_t n_rows, evn_error *err);

/* The entries of a query that are rotated and those that are not, of the latent vector, and of a head's values. */
typedef struct {
	uint32_t rotated, latent, plain, value;
	uint32_t n_heads, first_head; /* the computed ones; the first is counted in k_b and v_b */
} evn_latent_heads;

/* y (n_rows, stride) = the heads of queries, rotated and latent entries, and behind them that of the key. q: heads of
 * plain and rotated entries. kv: the latent vector before its norm, and the rotated entries. k_b (heads, latent,
 * plain). */
evn_status evn_op_latent_rows(evn_ops *ops, evn_buf *y, uint32_t stride, const evn_latent_heads *h,
							  const evn_columns_of *q, const evn_columns_of *kv, const evn_buf *k_b,
							  const evn_latent_norm *norm, uint32_t n_rows, evn_error *err);
/* y (n_rows, stride), from column `first` on = the values of the heads of x (.., x_stride): v_b (heads, value,
 * latent) times their latent entries. The other columns become zeros. */
evn_status evn_op_latent_values(evn_ops *ops, evn_buf *y, uint32_t stride, uint32_t first, const evn_latent_heads *h,
								const evn_buf *x, uint32_t x_stride, const evn_buf *v_b, uint32_t n_rows,
								evn_error *err);

#endif
