/* loss.c - output norm, head and cross-entropy. Each rank has the logits of its own vocabulary rows, for some tokens
 * at a time; three numbers a token are exchanged, so no rank ever holds the logits matrix. */
#include "train/network.h"

/* The partial sum this rank gives to the gradient of x. */
static evn_status give_gradient(evn_network *n, evn_error *err)
{
	evn_buf *partial = evn_comm_partial(n->comm, n->rank, 0);
	if (n->graph->out_norm.stem)
		return evn_network_norm_back(n, n->x, &n->out_norm, err);
	return evn_copy(n->q, partial, 0, n->d_normed, 0, (uint64_t)n->n_tok * n->dim_stride * sizeof(float), err);
}

/* Logits of tokens [first, first + count) and what follows from them. */
static evn_status piece(evn_network *n, const evn_buf *normed, evn_buf *d_normed, uint32_t first, uint32_t count,
						float gradient_scale, evn_error *err)
{
	const evn_loss l = {.first = n->vocab.begin,
						.n = evn_range_len(n->vocab),
						.stride = n->logits_stride,
						.offset = first,
						.n_tok = count,
						.rank = n->rank,
						.n_ranks = n->n_ranks};
	const evn_linear head = {.in = n->h->dim,
							 .weight = n->tied ? n->embedding : n->head.weight,
							 .frozen = n->head.frozen,
							 .bias = n->head.bias};
	const uint64_t bytes = (uint64_t)count * n->dim_stride * sizeof(float);
	const uint64_t at = (uint64_t)first * n->dim_stride * sizeof(float);
	const uint32_t everybody = (uint32_t)((1ull << n->n_ranks) - 1);
	EVN_TRY(evn_copy(n->q, n->x_piece, 0, normed, at, bytes, err));
	if (l.n)
		EVN_TRY(evn_linear_forward(&head, &n->products, n->logits, l.stride, n->x_piece, n->dim_stride, count, err));
	EVN_TRY(evn_op_loss_stats(n->backward, evn_comm_partial(n->comm, n->rank, 0), n->logits, n->targets, &l, err));
	EVN_TRY(evn_fill_zero(n->q, n->stats, err));
	const evn_sum sum = evn_sum_of(n->stats, evn_loss_floats(count, n->n_ranks), everybody);
	EVN_TRY(evn_comm_all_reduce(n->comm, n->rank, &sum, err));
	EVN_TRY(evn_op_loss_gradient(n->backward, n->losses, n->logits, n->stats, n->targets, &l, gradient_scale, err));
	if (!l.n || gradient_scale <= 0)
		return EVN_OK;
	EVN_TRY(evn_linear_backward(&head, &n->products, n->d_piece, n->x_piece, n->dim_stride, n->logits, l.stride,
								count, err));
	return evn_copy(n->q, d_normed, at, n->d_piece, 0, bytes, err);
}

evn_status evn_network_loss(evn_network *n, float gradient_scale, evn_error *err)
{
	if (n->graph->out_norm.stem)
		EVN_TRY(evn_network_norm(n, n->normed, n->x, &n->out_norm, err));
	const evn_buf *normed = n->graph->out_norm.stem ? n->normed : n->x;
	for (uint32_t first = 0; first < n->n_tok; first += n->loss_tokens) {
		uint32_t count = n->n_tok - first < n->loss_tokens ? n->n_tok - first : n->loss_tokens;
		EVN_TRY(piece(n, normed, n->d_normed, first, count, gradient_scale, err));
	}
	if (gradient_scale <= 0)
		return EVN_OK;
	if (evn_range_len(n->vocab))
		EVN_TRY(give_gradient(n, err));
	EVN_TRY(evn_fill_zero(n->q, n->dx, err));
	const evn_sum sum = evn_sum_of(n->dx, (uint64_t)n->n_tok * n->dim_stride, n->vocab_contributors);
	return evn_comm_all_reduce(n->comm, n->rank, &sum, err);
}
