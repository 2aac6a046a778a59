/* pass.c - one pass: the embedding, the walk over the blocks, the loss, and the backward walk. The all-reduce after
 * each block has a counterpart in the backward walk: the gradient of a SPLIT_OUTPUT matrix's x is a partial sum, and
 * every rank has the gradient of a SPLIT_INPUT matrix's y. */
#include <stdlib.h>

#include "train/network.h"

static evn_status add_partials(evn_network *n, evn_buf *x, uint64_t ranks, float scale, evn_error *err)
{
	evn_sum sum = evn_sum_of(x, (uint64_t)n->n_tok * n->workspace->dim_stride, ranks);
	sum.scale = scale;
	return evn_comm_all_reduce(n->comm, n->rank, &sum, err);
}

/* y = scale * x with the dropout of a site of the tape; y may be x. */
static evn_status drop(evn_network *n, evn_buf *y, const evn_buf *x, uint32_t site, float scale, evn_error *err)
{
	const evn_dropout d = evn_tape_dropout(n->tape, site);
	if (d.fraction <= 0 && scale == 1)
		return EVN_OK;
	return evn_op_dropout(n->workspace->ops, y, x, (uint64_t)n->n_tok * n->workspace->dim_stride, &d, scale, err);
}

/* ---- blocks, back ---------------------------------------------------------------------------------------------- */

evn_status evn_network_norm_back(evn_network *n, const evn_norm_back *norm, evn_error *err)
{
	const evn_train_norm *t = norm->trained;
	const evn_hparams *h = n->graph->h;
	const uint32_t stride = n->workspace->dim_stride;
	evn_buf *dw = t->weight.gradient ? t->weight.gradient : n->sink;
	evn_buf *db = t->bias.gradient ? t->bias.gradient : n->sink;
	evn_buf *partial = evn_comm_partial(n->comm, n->rank, 0);
	if (norm->kind == EVN_NORM_LAYER)
		return evn_op_layernorm_backward(n->backward, partial, dw, db, n->moments, n->d_normed, norm->x,
										 norm->weights->weight, n->n_tok, stride, h->dim, h->norm_eps, err);
	return evn_op_rmsnorm_backward(n->backward, partial, dw, n->moments, n->d_normed, norm->x, norm->weights->weight,
								   n->n_tok, stride, h->dim, h->norm_eps, err);
}

static evn_status attend_back(evn_network *n, uint32_t block, evn_error *err)
{
	const evn_block *b = &n->graph->blocks[block];
	const evn_kept *k = &n->tape->blocks[block];
	const evn_inner_rows *d = &n->workspace->of[b->kind];
	const evn_sequences s = evn_walk_sequences(&n->walker, block, &n->rows);
	EVN_TRY(evn_op_attention_backward(n->backward, d->in, n->delta, k->in, k->mid, d->mid, k->lse, &s, err));
	if (!b->attention.rotates)
		return EVN_OK;
	return evn_op_rotate(evn_workspace_attention(n->workspace, b), d->in, &s, n->workspace->ropes[b->attention.rope],
						 true, err);
}

static evn_status feed_forward_back(evn_network *n, uint32_t block, evn_error *err)
{
	const evn_kept *k = &n->tape->blocks[block];
	const evn_block *b = &n->graph->blocks[block];
	const evn_inner_rows *d = &n->workspace->of[b->kind];
	const evn_block_view *y = evn_view_block(n->view, block, EVN_PROMPT);
	const uint32_t width = evn_range_len(y->units);
	if (!b->feed_forward.gated)
		return evn_op_gelu_backward(n->backward, d->in, k->in, d->in_stride, d->mid, d->mid_stride, width, n->n_tok,
									err);
	return evn_op_swiglu_backward(n->backward, d->in, k->in, d->in_stride, y->offsets[1], d->mid, d->mid_stride,
								  width, n->n_tok, err);
}

/* From the gradient of W_out's input to that of W_in's output. */
static evn_status (*const backs[EVN_BLOCK_KINDS])(evn_network *n, uint32_t block, evn_error *err) = {
	[EVN_BLOCK_ATTENTION] = attend_back, [EVN_BLOCK_FEED_FORWARD] = feed_forward_back};

/* Computes the partial sum that this rank adds to dx, and the gradients of the block's parameters. */
static evn_status block_back(evn_network *n, uint32_t block, evn_error *err)
{
	const evn_block *b = &n->graph->blocks[block];
	const evn_train_block *t = &n->blocks[block];
	const evn_kept *k = &n->tape->blocks[block];
	const evn_inner_rows *d = &n->workspace->of[b->kind];
	const uint32_t stride = n->workspace->dim_stride;
	const evn_norm_back norm = {b->norm.kind, &n->shard->blocks[block].norm, &t->norm, k->x};
	/* The backward walk does not need x: dx goes there after dropout and scale. */
	const bool as_it_is = n->tape->dropout.fraction <= 0 && b->residual_scale == 1;
	const evn_columns dy = {as_it_is ? n->dx : n->x, stride, 0};
	if (n->tape->shares)
		EVN_TRY(evn_walk_again(&n->walker, block, &n->rows, err));
	EVN_TRY(drop(n, dy.buf, n->dx, 1 + block, b->residual_scale, err));
	EVN_TRY(evn_linear_backward(&t->out, &n->gradients, d->mid, (evn_columns){k->mid, d->mid_stride, 0}, dy, n->n_tok,
								err));
	EVN_TRY(backs[b->kind](n, block, err));
	EVN_TRY(evn_linear_backward(&t->in, &n->gradients, n->d_normed, (evn_columns){k->normed, stride, 0},
								(evn_columns){d->in, d->in_stride, 0}, n->n_tok, err));
	return evn_network_norm_back(n, &norm, err);
}

static evn_status walk_back(evn_network *n, evn_error *err)
{
	for (uint32_t block = n->graph->n_blocks; block-- > 0;) {
		const evn_block_view *y = evn_view_block(n->view, block, EVN_PROMPT);
		if (evn_range_len(y->units))
			EVN_TRY(block_back(n, block, err));
		EVN_TRY(add_partials(n, n->dx, y->ranks, 1, err));
		EVN_TRY(evn_comm_check(n->comm, err));
	}
	return EVN_OK;
}

/* ---- embedding ------------------------------------------------------------------------------------------------- */

static evn_positions positions(const evn_network *n)
{
	return (evn_positions){.first = n->positions.pieces[0].row.begin,
						   .n = n->positions.rows,
						   .n_ctx = n->shape.n_ctx,
						   .n_tok = n->n_tok,
						   .stride = n->workspace->dim_stride};
}

/* Writes the embedding rows that this rank has to its partial sum. */
static evn_status give_embedding(evn_network *n, evn_error *err)
{
	evn_buf *partial = evn_comm_partial(n->comm, n->rank, 0);
	const evn_range vocab = n->shard->vocab;
	const evn_positions p = positions(n);
	EVN_TRY(evn_op_embed(n->backward, partial, n->embedding->value, n->ids, vocab.begin, evn_range_len(vocab),
						 p.stride, n->n_tok, err));
	if (p.n)
		EVN_TRY(evn_op_add_positions(n->backward, partial, n->positions.value, &p, err));
	return drop(n, partial, partial, 0, 1, err);
}

static evn_status embed(evn_network *n, const evn_train_batch *batch, evn_error *err)
{
	uint64_t bytes = (uint64_t)n->n_tok * n->workspace->dim_stride * sizeof(float);
	if (batch->embeddings) {
		EVN_TRY(evn_write(n->q, n->x, 0, batch->embeddings, bytes, err));
		return drop(n, n->x, n->x, 0, 1, err);
	}
	EVN_TRY(evn_fill_zero(n->q, n->x, err));
	if (evn_range_len(n->shard->vocab))
		EVN_TRY(give_embedding(n, err));
	return add_partials(n, n->x, n->vocab_ranks, n->graph->embedding_scale, err);
}

/* Sorts the tokens by vocabulary row, and by position within a row, so that sums have one order. */
static evn_status tokens_back(evn_network *n, const evn_train_batch *batch, evn_error *err)
{
	uint32_t rows = evn_range_len(n->shard->vocab), first = n->shard->vocab.begin;
	if (!rows)
		return EVN_OK;
	uint32_t *starts = calloc(rows + 2u, sizeof *starts), *order = calloc(n->n_tok, sizeof *order);
	evn_status s =
		starts && order ? EVN_OK : evn_fail_memory(err, "token order", (rows + 2u + n->n_tok) * sizeof *starts);
	if (s == EVN_OK) {
		uint32_t *next = starts + 1; /* one entry ahead: filling moves each entry to its row's beginning */
		for (uint32_t t = 0; t < n->n_tok; t++)
			if (batch->ids[t] - first < rows)
				starts[batch->ids[t] - first + 2]++;
		for (uint32_t r = 2; r < rows + 2; r++)
			starts[r] += starts[r - 1];
		for (uint32_t t = 0; t < n->n_tok; t++)
			if (batch->ids[t] - first < rows)
				order[next[batch->ids[t] - first]++] = t;
		s = evn_write(n->q, n->starts, 0, starts, (rows + 1) * sizeof *starts, err);
	}
	if (s == EVN_OK)
		s = evn_write(n->q, n->order, 0, order, n->n_tok * sizeof *order, err);
	if (s == EVN_OK)
		s = evn_op_embed_backward(n->backward, n->embedding->gradient, n->dx, n->starts, n->order, rows,
								  n->workspace->dim_stride, err);
	free(starts);
	free(order);
	return s;
}

static evn_status embed_back(evn_network *n, const evn_train_batch *batch, evn_error *err)
{
	const evn_positions p = positions(n);
	if (!n->embedding)
		return EVN_OK;
	EVN_TRY(drop(n, n->dx, n->dx, 0, n->graph->embedding_scale, err));
	if (p.n)
		EVN_TRY(evn_op_positions_backward(n->backward, n->positions.gradient, n->dx, &p, err));
	return tokens_back(n, batch, err);
}

/* ---- the pass -------------------------------------------------------------------------------------------------- */

static evn_status pass(evn_network *n, const evn_train_batch *batch, float gradient_scale, evn_error *err)
{
	uint64_t id_bytes = (uint64_t)n->n_tok * sizeof(uint32_t);
	n->tape->dropout = batch->dropout;
	EVN_TRY(evn_write(n->q, n->ids, 0, batch->ids, id_bytes, err));
	EVN_TRY(evn_write(n->q, n->targets, 0, batch->targets, id_bytes, err));
	EVN_TRY(embed(n, batch, err));
	EVN_TRY(evn_walk_blocks(&n->walker, &n->rows, 1, err));
	EVN_TRY(evn_network_loss(n, gradient_scale, err));
	if (gradient_scale <= 0)
		return EVN_OK;
	EVN_TRY(walk_back(n, err));
	return embed_back(n, batch, err);
}

evn_status evn_network_pass(evn_network *n, const evn_train_batch *batch, float gradient_scale, float *losses,
							evn_error *err)
{
	evn_comm_step_begin(n->comm, n->rank);
	EVN_TRY(pass(n, batch, gradient_scale, err));
	EVN_TRY(evn_comm_step_end(n->comm, n->rank, err));
	return losses ? evn_read(n->q, n->losses, 0, losses, (uint64_t)n->n_tok * sizeof *losses, err) : EVN_OK;
}
