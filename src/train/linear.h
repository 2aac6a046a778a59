/* linear.h - one matrix of a layer as training needs it: y = x W^T + bias and its gradients, W either trained in f32
 * or frozen in the file's quantised blocks with low-rank additions that are trained (LoRA, Hu et al. 2021). */
#ifndef EVN_LINEAR_H
#define EVN_LINEAR_H

#include "train/backward.h"
#include "nn/ops.h"
#include "train/param.h"
#include "train/product_times.h"

/* y[:, y_offset ...] += scale (x A^T) B^T. A (rank, in), B (out, rank). */
typedef struct {
	evn_param a, b;
	uint32_t y_offset;
} evn_lora;

typedef struct {
	uint32_t in;      /* columns of x, from x_shift on */
	uint32_t x_shift; /* see evn_matrix */
	evn_param weight; /* trained; no pieces where W is frozen */
	evn_matrix frozen;
	evn_param bias; /* no buffer where this rank adds none */
	evn_lora lora[EVN_MATRIX_PARTS];
	uint32_t n_lora, lora_rank;
	float lora_scale;
} evn_linear;

/* What the products of one rank share. */
typedef struct {
	evn_queue *q;
	evn_ops *ops;
	evn_backward *backward;
	evn_buf *low, *d_low; /* (n_tok, padded LoRA rank), or NULL */
	evn_product_times *times;
} evn_products;

evn_status evn_linear_forward(const evn_linear *l, const evn_products *p, evn_buf *y, uint32_t y_stride,
							  const evn_buf *x, uint32_t x_stride, uint32_t n_tok, evn_error *err);
/* dx = gradient of x from dy, and the gradients of what is trained, added up. */
evn_status evn_linear_backward(const evn_linear *l, const evn_products *p, evn_buf *dx, const evn_buf *x,
							   uint32_t x_stride, const evn_buf *dy, uint32_t y_stride, uint32_t n_tok,
							   evn_error *err);
void evn_linear_free(evn_linear *l);

#endif
