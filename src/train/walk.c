/* walk.c - the layer walk forward and backward. The forward walk's two sums over the ranks each have their mirror in
 * the backward walk: SPLIT_OUTPUT's gradient of x is a partial sum, SPLIT_INPUT's gradient of y is everybody's. */
#include <stdlib.h>

#include "train/network.h"

static evn_sequences sequences(const evn_network *n, const evn_train_layer *y)
{
	return (evn_sequences){.n_heads = evn_range_len(y->heads),
						   .n_kv = evn_range_len(y->kv_heads),
						   .first_head = y->heads.begin,
						   .first_kv = y->kv_heads.begin,
						   .group = n->h->n_heads / n->h->n_kv_heads,
						   .n_ctx = n->shape.n_ctx,
						   .n_sequences = n->shape.n_sequences,
						   .k_offset = y->k_offset,
						   .v_offset = y->v_offset,
						   .stride = n->qkv_stride,
						   .out_stride = n->attended_stride,
						   .out_offset = y->attn_out.x_shift};
}

evn_status evn_network_norm(evn_network *n, evn_buf *y, const evn_buf *x, const evn_train_norm *norm, evn_error *err)
{
	const evn_norm of = {.kind = n->graph->out_norm.kind,
						 .y = y,
						 .w = norm->weight.value,
						 .bias = norm->bias.value,
						 .dim = n->h->dim,
						 .eps = n->h->norm_eps};
	return evn_op_norm(n->products.ops, &of, x, 0, n->n_tok, n->dim_stride, err);
}

evn_status evn_network_norm_back(evn_network *n, const evn_buf *x, const evn_train_norm *norm, evn_error *err)
{
	evn_buf *dw = norm->weight.gradient ? norm->weight.gradient : n->sink;
	evn_buf *db = norm->bias.gradient ? norm->bias.gradient : n->sink;
	evn_buf *partial = evn_comm_partial(n->comm, n->rank, 0);
	if (n->graph->out_norm.kind == EVN_NORM_LAYER)
		return evn_op_layernorm_backward(n->backward, partial, dw, db, n->moments, n->d_normed, x, norm->weight.value,
										 n->n_tok, n->dim_stride, n->h->dim, n->h->norm_eps, err);
	return evn_op_rmsnorm_backward(n->backward, partial, dw, n->moments, n->d_normed, x, norm->weight.value, n->n_tok,
								   n->dim_stride, n->h->dim, n->h->norm_eps, err);
}

static evn_status add_partials(evn_network *n, evn_buf *x, uint32_t contributors, evn_error *err)
{
	const evn_sum sum = evn_sum_of(x, (uint64_t)n->n_tok * n->dim_stride, contributors);
	return evn_comm_all_reduce(n->comm, n->rank, &sum, err);
}

/* ---- dropout ----------------------------------------------------------------------------------------------- */

/* Where it acts, one number each. A sum over ranks with a mask is the sum of the parts with that mask: every rank
 * drops from its own partial sum, and no message is needed. */
enum { SITE_EMBEDDING };
static uint32_t site_attention(const evn_network *n, const evn_train_layer *y)
{
	return 1 + 2 * (uint32_t)(y - n->layers);
}
static uint32_t site_feed_forward(const evn_network *n, const evn_train_layer *y) { return 1 + site_attention(n, y); }

static evn_status drop(evn_network *n, evn_buf *to, const evn_buf *x, uint32_t site, evn_error *err)
{
	const uint64_t places[2] = {n->dropout.key, site};
	const evn_dropout here = {n->dropout.fraction, evn_hash(EVN_HASH_START, places, sizeof places)};
	if (here.fraction <= 0)
		return EVN_OK;
	return evn_op_dropout(n->backward, to, x, (uint64_t)n->n_tok * n->dim_stride, &here, err);
}

static evn_status drop_partial(evn_network *n, uint32_t site, evn_error *err)
{
	evn_buf *partial = evn_comm_partial(n->comm, n->rank, 0);
	return drop(n, partial, partial, site, err);
}

/* What of dx comes through the dropout behind a branch; it is put into x, which the walk back does not need. */
static evn_status branch_gradient(evn_network *n, uint32_t site, const evn_buf **out, evn_error *err)
{
	*out = n->dropout.fraction > 0 ? n->x : n->dx;
	return drop(n, n->x, n->dx, site, err);
}

/* ---- forward ----------------------------------------------------------------------------------------------- */

/* Up to the input of the output projection: what the backward walk needs of attention. */
static evn_status attend(evn_network *n, const evn_train_layer *y, evn_error *err)
{
	const evn_activations *a = &y->kept;
	const evn_sequences s = sequences(n, y);
	EVN_TRY(evn_network_norm(n, a->attn_normed, y->input, &y->attn_norm, err));
	EVN_TRY(evn_linear_forward(&y->qkv, &n->products, a->qkv, n->qkv_stride, a->attn_normed, n->dim_stride, n->n_tok,
							   err));
	if (n->rope)
		EVN_TRY(evn_op_rope_rows(n->backward, a->qkv, &s, n->rope, false, err));
	if (n->shape.recompute) /* another layer's heads may have stood where this one must have zeros */
		EVN_TRY(evn_fill_zero(n->q, a->attended, err));
	return evn_op_attention_forward(n->backward, a->attended, a->lse, a->qkv, &s, err);
}

/* Gate and up are joined by SwiGLU; up alone is followed by GELU. */
static bool gated(const evn_network *n) { return evn_network_feed_forward(n, 0)->feed_forward.gated; }

static evn_status expand(evn_network *n, const evn_train_layer *y, evn_error *err)
{
	const evn_activations *a = &y->kept;
	EVN_TRY(evn_network_norm(n, a->ffn_normed, y->middle, &y->ffn_norm, err));
	EVN_TRY(evn_linear_forward(&y->gate_up, &n->products, a->gate_up, n->gate_up_stride, a->ffn_normed, n->dim_stride,
							   n->n_tok, err));
	if (!gated(n))
		return evn_op_gelu(n->products.ops, EVN_ACT_F32, a->gated, n->gated_stride, a->gate_up, n->gate_up_stride,
						   evn_range_len(y->ff), n->n_tok, err);
	return evn_op_swiglu(n->products.ops, EVN_ACT_F32, a->gated, n->gated_stride, a->gate_up, n->gate_up_stride,
						 y->up_offset, evn_range_len(y->ff), n->n_tok, err);
}

/* This rank's product goes to its partial sum, whose padding other messages may have used. */
static evn_status give_product(evn_network *n, const evn_linear *l, const evn_buf *x, uint32_t x_stride,
							   evn_error *err)
{
	evn_buf *partial = evn_comm_partial(n->comm, n->rank, 0);
	if (n->dim_stride > n->h->dim)
		EVN_TRY(evn_fill_zero(n->q, partial, err));
	return evn_linear_forward(l, &n->products, partial, n->dim_stride, x, x_stride, n->n_tok, err);
}

static evn_status keep(evn_network *n, evn_buf *to, evn_error *err)
{
	return evn_copy(n->q, to, 0, n->x, 0, (uint64_t)n->n_tok * n->dim_stride * sizeof(float), err);
}

static evn_status layer_forward(evn_network *n, const evn_train_layer *y, evn_error *err)
{
	const evn_activations *a = &y->kept;
	EVN_TRY(keep(n, y->input, err));
	if (evn_range_len(y->heads)) {
		EVN_TRY(attend(n, y, err));
		EVN_TRY(give_product(n, &y->attn_out, a->attended, n->attended_stride, err));
		EVN_TRY(drop_partial(n, site_attention(n, y), err));
	}
	EVN_TRY(add_partials(n, n->x, y->attn_contributors, err));
	EVN_TRY(keep(n, y->middle, err));
	if (evn_range_len(y->ff)) {
		EVN_TRY(expand(n, y, err));
		EVN_TRY(give_product(n, &y->down, a->gated, n->gated_stride, err));
		EVN_TRY(drop_partial(n, site_feed_forward(n, y), err));
	}
	return add_partials(n, n->x, y->ff_contributors, err);
}

/* ---- backward ---------------------------------------------------------------------------------------------- */

static evn_status expand_back(evn_network *n, const evn_train_layer *y, evn_error *err)
{
	const uint32_t width = evn_range_len(y->ff);
	if (!gated(n))
		return evn_op_gelu_backward(n->backward, n->d_gate_up, y->kept.gate_up, n->gate_up_stride, n->d_gated,
									n->gated_stride, width, n->n_tok, err);
	return evn_op_swiglu_backward(n->backward, n->d_gate_up, y->kept.gate_up, n->gate_up_stride, y->up_offset,
								  n->d_gated, n->gated_stride, width, n->n_tok, err);
}

static evn_status feed_forward_back(evn_network *n, const evn_train_layer *y, evn_error *err)
{
	const evn_activations *a = &y->kept;
	const evn_products *p = &n->products;
	const evn_buf *dy;
	if (n->shape.recompute)
		EVN_TRY(expand(n, y, err));
	EVN_TRY(branch_gradient(n, site_feed_forward(n, y), &dy, err));
	EVN_TRY(
		evn_linear_backward(&y->down, p, n->d_gated, a->gated, n->gated_stride, dy, n->dim_stride, n->n_tok, err));
	EVN_TRY(expand_back(n, y, err));
	EVN_TRY(evn_linear_backward(&y->gate_up, p, n->d_normed, a->ffn_normed, n->dim_stride, n->d_gate_up,
								n->gate_up_stride, n->n_tok, err));
	return evn_network_norm_back(n, y->middle, &y->ffn_norm, err);
}

static evn_status attention_back(evn_network *n, const evn_train_layer *y, evn_error *err)
{
	const evn_activations *a = &y->kept;
	const evn_products *p = &n->products;
	const evn_sequences s = sequences(n, y);
	const evn_buf *dy;
	if (n->shape.recompute)
		EVN_TRY(attend(n, y, err));
	EVN_TRY(branch_gradient(n, site_attention(n, y), &dy, err));
	EVN_TRY(evn_linear_backward(&y->attn_out, p, n->d_attended, a->attended, n->attended_stride, dy, n->dim_stride,
								n->n_tok, err));
	EVN_TRY(evn_op_attention_backward(n->backward, n->d_qkv, n->delta, a->qkv, a->attended, n->d_attended, a->lse, &s,
									  err));
	if (n->rope)
		EVN_TRY(evn_op_rope_rows(n->backward, n->d_qkv, &s, n->rope, true, err));
	EVN_TRY(evn_linear_backward(&y->qkv, p, n->d_normed, a->attn_normed, n->dim_stride, n->d_qkv, n->qkv_stride,
								n->n_tok, err));
	return evn_network_norm_back(n, y->input, &y->attn_norm, err);
}

static evn_status layer_backward(evn_network *n, const evn_train_layer *y, evn_error *err)
{
	if (evn_range_len(y->ff))
		EVN_TRY(feed_forward_back(n, y, err));
	EVN_TRY(add_partials(n, n->dx, y->ff_contributors, err));
	if (evn_range_len(y->heads))
		EVN_TRY(attention_back(n, y, err));
	return add_partials(n, n->dx, y->attn_contributors, err);
}

/* ---- embedding --------------------------------------------------------------------------------------------- */

static evn_positions positions(const evn_network *n)
{
	return (evn_positions){.first = n->positions.pieces[0].row.begin,
						   .n = n->positions.rows,
						   .n_ctx = n->shape.n_ctx,
						   .n_tok = n->n_tok,
						   .stride = n->dim_stride};
}

/* The partial sum of a rank that has rows of the vocabulary. */
static evn_status give_embedding(evn_network *n, evn_error *err)
{
	evn_buf *partial = evn_comm_partial(n->comm, n->rank, 0);
	const evn_positions p = positions(n);
	EVN_TRY(evn_op_embed(n->backward, partial, n->embedding.value, n->ids, n->vocab.begin, evn_range_len(n->vocab),
						 n->dim_stride, n->n_tok, err));
	if (p.n)
		EVN_TRY(evn_op_add_positions(n->backward, partial, n->positions.value, &p, err));
	return drop_partial(n, SITE_EMBEDDING, err);
}

static evn_status embed(evn_network *n, const evn_train_batch *batch, evn_error *err)
{
	uint64_t bytes = (uint64_t)n->n_tok * n->dim_stride * sizeof(float);
	if (batch->embeddings) {
		EVN_TRY(evn_write(n->q, n->x, 0, batch->embeddings, bytes, err));
		return drop(n, n->x, n->x, SITE_EMBEDDING, err);
	}
	EVN_TRY(evn_fill_zero(n->q, n->x, err));
	if (evn_range_len(n->vocab))
		EVN_TRY(give_embedding(n, err));
	return add_partials(n, n->x, n->vocab_contributors, err);
}

/* Tokens sorted by the vocabulary row they look up, in their own order within a row: sums have one order. */
static evn_status tokens_back(evn_network *n, const evn_train_batch *batch, evn_error *err)
{
	uint32_t rows = evn_range_len(n->vocab), first = n->vocab.begin;
	if (!rows || !n->embedding.rows)
		return EVN_OK;
	uint32_t *starts = calloc(rows + 2u, sizeof *starts), *order = calloc(n->n_tok, sizeof *order);
	evn_status s =
		starts && order ? EVN_OK : evn_fail_memory(err, "token order", (rows + 2u + n->n_tok) * sizeof *starts);
	if (s == EVN_OK) {
		uint32_t *next = starts + 1; /* counted one ahead: filling moves each entry to its row's beginning */
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
		s = evn_op_embed_backward(n->backward, n->embedding.gradient, n->dx, n->starts, n->order, rows, n->dim_stride,
								  err);
	free(starts);
	free(order);
	return s;
}

static evn_status embed_back(evn_network *n, const evn_train_batch *batch, evn_error *err)
{
	const evn_positions p = positions(n);
	EVN_TRY(drop(n, n->dx, n->dx, SITE_EMBEDDING, err));
	if (p.n)
		EVN_TRY(evn_op_positions_backward(n->backward, n->positions.gradient, n->dx, &p, err));
	return tokens_back(n, batch, err);
}

/* ---- the pass ---------------------------------------------------------------------------------------------- */

static evn_status walk(evn_network *n, const evn_train_batch *batch, float gradient_scale, evn_error *err)
{
	uint64_t id_bytes = (uint64_t)n->n_tok * sizeof(uint32_t);
	n->dropout = batch->dropout;
	EVN_TRY(evn_write(n->q, n->ids, 0, batch->ids, id_bytes, err));
	EVN_TRY(evn_write(n->q, n->targets, 0, batch->targets, id_bytes, err));
	EVN_TRY(embed(n, batch, err));
	for (uint32_t i = 0; i < n->n_layers; i++)
		EVN_TRY(layer_forward(n, &n->layers[i], err));
	EVN_TRY(evn_network_loss(n, gradient_scale, err));
	if (gradient_scale <= 0)
		return EVN_OK;
	for (uint32_t i = n->n_layers; i-- > 0;) {
		EVN_TRY(layer_backward(n, &n->layers[i], err));
		EVN_TRY(evn_comm_check(n->comm, err));
	}
	return embed_back(n, batch, err);
}

evn_status evn_network_pass(evn_network *n, const evn_train_batch *batch, float gradient_scale, float *losses,
							evn_error *err)
{
	evn_comm_step_begin(n->comm, n->rank);
	EVN_TRY(walk(n, batch, gradient_scale, err));
	EVN_TRY(evn_comm_step_end(n->comm, n->rank, err));
	return losses ? evn_read(n->q, n->losses, 0, losses, (uint64_t)n->n_tok * sizeof *losses, err) : EVN_OK;
}
