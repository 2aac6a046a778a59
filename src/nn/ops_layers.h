/* ops_layers.h - the operations on rows of which the host sends more than the embedding: inputs of layers by the
 * token, and patches of images (kernels/layer_inputs.cl). All calls only enqueue. */
#ifndef EVN_OPS_LAYERS_H
#define EVN_OPS_LAYERS_H

#include "nn/ops.h"

/* Rows as the host sends them: the row of the embedding, and from column `first` on n entries for each layer, or a
 * patch. */
typedef struct {
	evn_buf *rows; /* (.., stride) */
	uint32_t stride, first, n;
} evn_layer_inputs;

/* x (n_tok, stride) = the rows from this column on; 0: those of the embedding. */
evn_status evn_op_take_rows(evn_ops *ops, evn_buf *x, uint32_t stride, const evn_layer_inputs *in, uint32_t column,
							uint32_t n_tok, evn_error *err);
/* x (n_tok, stride) += columns [0, stride) of from (n_tok, from_stride). */
evn_status evn_op_add_rows(evn_ops *ops, evn_buf *x, uint32_t stride, const evn_buf *from, uint32_t from_stride,
						   uint32_t n_tok, evn_error *err);
/* The entries of each of n_layers become (entry + the RMS norm of n projected ones, by w) / sqrt 2. projected (n_tok,
 * stride). */
typedef struct {
	const evn_buf *projected, *w;
	uint32_t stride, n_layers;
	float eps;
} evn_layer_projection;
evn_status evn_op_add_projected(evn_ops *ops, const evn_layer_inputs *in, const evn_layer_projection *p,
								uint32_t n_tok, evn_error *err);
/* y[t][i] = gelu(x[t][i]) times the entry in column `column` + i, for i < width, and zeros up to y_stride. width is a
 * multiple of 16; the columns of x that are no units are zeros. */
evn_status evn_op_gate_by_layer(evn_ops *ops, evn_act_format format, evn_buf *y, uint32_t y_stride, const evn_buf *x,
								uint32_t x_stride, uint32_t width, const evn_layer_inputs *in, uint32_t column,
								uint32_t n_tok, evn_error *err);

#endif
