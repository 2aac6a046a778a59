/* gpt2.h - the launchers of kernels/gpt2.cl; a kernel belongs to the queue it was got for. */
#ifndef EVN_GPT2_H
#define EVN_GPT2_H

#include "nn/arch.h"
#include "ocl/ocl.h"

evn_status evn_layernorm_kernel(evn_kernel **out, evn_queue *q, uint32_t items, evn_error *err);
evn_status evn_gelu_kernel(evn_kernel **out, evn_queue *q, evn_error *err);

/* y (n_tok, stride) = LayerNorm of the rows first .. first + n_tok of x (.., stride), of dim true columns. */
evn_status evn_op_layernorm(evn_kernel *k, uint32_t items, evn_buf *y, const evn_buf *x, uint32_t first,
							uint32_t n_tok, const evn_norm_weights *w, uint32_t stride, uint32_t dim, float eps,
							evn_error *err);
/* y[t][i] = gelu(x[t][i]), i < width; zeros up to y_stride. width a multiple of 16. */
evn_status evn_op_gelu(evn_kernel *k, evn_buf *y, uint32_t y_stride, const evn_buf *x, uint32_t x_stride,
					   uint32_t width, uint32_t n_tok, evn_error *err);

#endif
