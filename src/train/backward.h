/* backward.h - launchers of operations for training: gradients, the loss, the optimizer. Matrices are f32 activations
 * as in matrix.h. Gradients of weights are added to the existing ones. All calls only enqueue. */
#ifndef EVN_BACKWARD_H
#define EVN_BACKWARD_H

#include "kernels/train/arguments.h"
#include "nn/ops_attention.h"

typedef struct evn_backward evn_backward;

/* The kernels of one queue, for heads of one shape without norms of their own. head_dim is 0 for a model without
 * heads. */
evn_status evn_backward_create(evn_backward **out, evn_queue *q, const evn_attention_config *heads, evn_error *err);
void evn_backward_free(evn_backward *b);

/* dx (n_tok, stride) = the gradient of evn_op_norm's x from dy, for an RMS norm. dw (stride) += the gradient of w.
 * scales (n_tok): scratch. */
evn_status evn_op_rmsnorm_backward(evn_backward *b, evn_buf *dx, evn_buf *dw, evn_buf *scales, const evn_buf *dy,
								   const evn_buf *x, const evn_buf *w, uint32_t n_tok, uint32_t stride, uint32_t dim,
								   float eps, evn_error *err);
/* The same for a LayerNorm, with db (stride) += the gradient of its bias. moments (n_tok, 2): scratch. */
evn_status evn_op_layernorm_backward(evn_backward *b, evn_buf *dx, evn_buf *dw, evn_buf *db, evn_buf *moments,
									 const evn_buf *dy, const evn_buf *x, const evn_buf *w, uint32_t n_tok,
									 uint32_t stride, uint32_t dim, float eps, evn_error *err);
/* db[i] += the sum over tokens of dy[t][i], i < width. db and stride have room up to the next multiple of 16. */
evn_status evn_op_bias_gradient(evn_backward *b, evn_buf *db, const evn_buf *dy, uint32_t stride, uint32_t width,
								uint32_t n_tok, evn_error *err);
/* dgu = the gradient of evn_op_swiglu's gu from dy. Columns outside gate and up are not changed. */
evn_status evn_op_swiglu_backward(evn_backward *b, evn_buf *dgu, const evn_buf *gu, uint32_t gu_stride,
								  uint32_t up_offset, const evn_buf *dy, uint32_t y_stride, uint32_t width,
								  uint32_t n_tok, evn_error *err);
/* dx = the gradient of evn_op_gelu's x from dy, in columns [0, width). width is a multiple of 16. */
evn_status evn_op_gelu_backward(evn_backward *b, evn_buf *dx, const evn_buf *x, uint32_t x_stride, const evn_buf *dy,
								uint32_t y_stride, uint32_t width, uint32_t n_tok, evn_error *err);

/* The gradient of evn_op_attention_sequences: dqkv from dout. delta (n_tok, n_heads): scratch. */
evn_status evn_op_attention_backward(evn_backward *b, evn_buf *dqkv, evn_buf *delta, const evn_buf *qkv,
									 const evn_buf *out, const evn_buf *dout, const evn_buf *lse,
									 const evn_sequences *s, evn_error *err);

/* x (n_tok, stride) = rows ids[t] of a table of n rows that begins with row `first`, and zeros for other rows. */
evn_status evn_op_embed(evn_backward *b, evn_buf *x, const evn_buf *table, const evn_buf *ids, uint32_t first,
						uint32_t n, uint32_t stride, uint32_t n_tok, evn_error *err);
/* dtable (n, stride) += dx of the tokens of each row: order[starts[row]] .. order[starts[row + 1] - 1]. */
evn_status evn_op_embed_backward(evn_backward *b, evn_buf *dtable, const evn_buf *dx, const evn_buf *starts,
								 const evn_buf *order, uint32_t n, uint32_t stride, evn_error *err);
/* Learned positions, which are cut by rows too: sequences of n_ctx tokens, and a table of n rows that begins with
 * position `first`. x (n_tok, stride) += the rows that this rank holds. dtable (n, stride) += dx of the tokens at
 * each position. */
typedef struct {
	uint32_t first, n, n_ctx, n_tok, stride;
} evn_positions;
evn_status evn_op_add_positions(evn_backward *b, evn_buf *x, const evn_buf *table, const evn_positions *p,
								evn_error *err);
evn_status evn_op_positions_backward(evn_backward *b, evn_buf *dtable, const evn_buf *dx, const evn_positions *p,
									 evn_error *err);

/* The floats of stats, which are summed over the ranks. A multiple of 16. */
static inline uint64_t evn_loss_floats(uint32_t n_tok, uint32_t n_ranks)
{
	return evn_round_up((uint64_t)n_tok * n_ranks * EVN_LOSS_STATS, 16);
}
evn_status evn_op_loss_stats(evn_backward *b, evn_buf *stats, const evn_buf *logits, const evn_buf *targets,
							 const evn_loss *l, evn_error *err);
/* Computes losses[offset + t] from the summed stats. logits becomes its own gradient, times scale. */
evn_status evn_op_loss_gradient(evn_backward *b, evn_buf *losses, evn_buf *logits, const evn_buf *stats,
								const evn_buf *targets, const evn_loss *l, float scale, evn_error *err);

/* One step on n values. n is a multiple of 16. */
evn_status evn_op_adamw(evn_backward *b, evn_buf *w, evn_buf *m, evn_buf *v, const evn_buf *g, uint64_t n,
						const evn_adamw *a, evn_error *err);
/* sums[k] = the sum of squares of g's k-th EVN_SQUARES_PIECE values. n is a multiple of 16. */
evn_status evn_op_sum_squares(evn_backward *b, evn_buf *sums, const evn_buf *g, uint64_t n, evn_error *err);

#endif
