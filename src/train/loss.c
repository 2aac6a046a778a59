/* loss.c - the output norm, the head and the cross-entropy. Each rank has the logits of its own vocabulary rows, for
 * some tokens at a time. For each token the ranks exchange three numbers, so no rank ever holds all logits. */
#include "train/network.h"

static bool has_norm(const evn_network *n) { return n->graph->out_norm.kind != EVN_NORM_NONE; }

/* Writes this rank's partial sum of the gradient of x. */
static evn_status give_gradient(evn_network *n, evn_error *err)
{
	const evn_norm_back norm = {n->graph->out_norm.kind, &n->shard->out_norm, &n->out_norm, n->x};
	evn_buf *partial = evn_comm_partial(n->comm, n->rank, 0);
	if (has_norm(n))
		return evn_network_norm_back(n, &norm, err);
	return evn_copy(n->q, partial, 0, n->d_normed, 0, (uint64_t)n->n_tok * n->workspace->dim_stride * sizeof(float),
					err);
}

/* The logits of n->x_piece, if this rank has any. */
static evn_status head(evn_network *n, const evn_loss *l, evn_error *err)
{
	evn_ops *ops = n->workspace->ops;
	const float scale = n->graph->logit_scale;
	if (!l->n)
		return EVN_OK;
	EVN_TRY(evn_op_linear(ops, n->logits, l->stride, n->x_piece, n->workspace->dim_stride, n->head.m,
						  (evn_rows){l->n_tok, EVN_PROMPT}, err));
	if (scale == 1)
		return EVN_OK;
	return evn_op_dropout(ops, n->logits, n->logits, (uint64_t)l->n_tok * l->stride, &(evn_dropout){0}, scale, err);
}

/* The logits of tokens [first, first + count), their losses and their gradients. */
static evn_status piece(evn_network *n, const evn_buf *normed, uint32_t first, uint32_t count, float gradient_scale,
						evn_error *err)
{
	const evn_loss l = {.first = n->shard->vocab.begin,
						.n = evn_range_len(n->shard->vocab),
						.stride = n->workspace->logits_stride,
						.offset = first,
						.n_tok = count,
						.rank = n->rank,
						.n_ranks = n->n_ranks};
	const uint32_t stride = n->workspace->dim_stride;
	const uint64_t bytes = (uint64_t)count * stride * sizeof(float), at = (uint64_t)first * stride * sizeof(float);
	const uint64_t everybody = (1ull << n->n_ranks) - 1;
	EVN_TRY(evn_copy(n->q, n->x_piece, 0, normed, at, bytes, err));
	EVN_TRY(head(n, &l, err));
	EVN_TRY(evn_op_loss_stats(n->backward, evn_comm_partial(n->comm, n->rank, 0), n->logits, n->targets, &l, err));
	EVN_TRY(evn_fill_zero(n->q, n->stats, err));
	const evn_sum sum = evn_sum_of(n->stats, evn_loss_floats(count, n->n_ranks), everybody);
	EVN_TRY(evn_comm_all_reduce(n->comm, n->rank, &sum, err));
	EVN_TRY(evn_op_loss_gradient(n->backward, n->losses, n->logits, n->stats, n->targets, &l,
								 gradient_scale * n->graph->logit_scale, err));
	if (!l.n || gradient_scale <= 0)
		return EVN_OK;
	EVN_TRY(evn_linear_backward(&n->head, &n->gradients, n->d_piece, (evn_columns){n->x_piece, stride, 0},
								(evn_columns){n->logits, l.stride, 0}, count, err));
	return evn_copy(n->q, n->d_normed, at, n->d_piece, 0, bytes, err);
}

evn_status evn_network_loss(evn_network *n, float gradient_scale, evn_error *err)
{
	const evn_norm norm = {.kind = n->graph->out_norm.kind,
						   .y = n->normed,
						   .w = n->shard->out_norm.weight,
						   .bias = n->shard->out_norm.bias,
						   .dim = n->graph->h->dim,
						   .eps = n->graph->h->norm_eps};
	if (has_norm(n))
		EVN_TRY(evn_op_norm(n->workspace->ops, &norm, n->x, 0, n->n_tok, n->workspace->dim_stride, err));
	for (uint32_t first = 0; first < n->n_tok; first += n->loss_tokens) {
		uint32_t count = n->n_tok - first < n->loss_tokens ? n->n_tok - first : n->loss_tokens;
		EVN_TRY(piece(n, has_norm(n) ? n->normed : n->x, first, count, gradient_scale, err));
	}
	if (gradient_scale <= 0)
		return EVN_OK;
	if (evn_range_len(n->shard->vocab))
		EVN_TRY(give_gradient(n, err));
	EVN_TRY(evn_fill_zero(n->q, n->dx, err));
	const evn_sum sum = evn_sum_of(n->dx, (uint64_t)n->n_tok * n->workspace->dim_stride, n->vocab_ranks);
	return evn_comm_all_reduce(n->comm, n->rank, &sum, err);
}
