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

static evn_status norm(evn_network *n, evn_buf *y, const evn_buf *x, const evn_param *w, evn_error *err)
{
	const evn_norm norm = {.y = y, .w = w->value, .dim = n->h->dim, .eps = n->h->norm_eps};
	return evn_op_norm(n->products.ops, &norm, x, 0, n->n_tok, n->dim_stride, err);
}

/* The partial sum this rank gives to dx from that of a norm's output, and the gradient of the norm's weight. */
static evn_status norm_back(evn_network *n, const evn_buf *x, const evn_param *w, evn_error *err)
{
	evn_buf *dw = w->gradient ? w->gradient : n->sink;
	return evn_op_rmsnorm_backward(n->backward, evn_group_partial(n->group, n->rank), dw, n->scales, n->d_normed, x,
								   w->value, n->n_tok, n->dim_stride, n->h->dim, n->h->norm_eps, err);
}

static evn_status add_partials(evn_network *n, evn_buf *x, uint32_t contributors, evn_error *err)
{
	return evn_all_reduce(n->group, n->rank, x, (uint64_t)n->n_tok * n->dim_stride, contributors, err);
}

/* ---- forward ----------------------------------------------------------------------------------------------- */

/* Up to the input of the output projection: what the backward walk needs of attention. */
static evn_status attend(evn_network *n, const evn_train_layer *y, evn_error *err)
{
	const evn_activations *a = &y->kept;
	const evn_sequences s = sequences(n, y);
	EVN_TRY(norm(n, a->attn_normed, y->input, &y->attn_norm, err));
	EVN_TRY(evn_linear_forward(&y->qkv, &n->products, a->qkv, n->qkv_stride, a->attn_normed, n->dim_stride, n->n_tok,
							   err));
	EVN_TRY(evn_op_rope_rows(n->backward, a->qkv, &s, n->rope, false, err));
	if (n->shape.recompute) /* another layer's heads may have stood where this one must have zeros */
		EVN_TRY(evn_fill_zero(n->q, a->attended, err));
	return evn_op_attention_forward(n->backward, a->attended, a->lse, a->qkv, &s, err);
}

static evn_status gate(evn_network *n, const evn_train_layer *y, evn_error *err)
{
	const evn_activations *a = &y->kept;
	EVN_TRY(norm(n, a->ffn_normed, y->middle, &y->ffn_norm, err));
	EVN_TRY(evn_linear_forward(&y->gate_up, &n->products, a->gate_up, n->gate_up_stride, a->ffn_normed, n->dim_stride,
							   n->n_tok, err));
	return evn_op_swiglu(n->products.ops, EVN_FORM_F32, a->gated, n->gated_stride, a->gate_up, n->gate_up_stride, y->up_offset,
						 evn_range_len(y->ff), n->n_tok, err);
}

/* This rank's product goes to its partial sum, whose padding other messages may have used. */
static evn_status give_product(evn_network *n, const evn_linear *l, const evn_buf *x, uint32_t x_stride,
							   evn_error *err)
{
	evn_buf *partial = evn_group_partial(n->group, n->rank);
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
	}
	EVN_TRY(add_partials(n, n->x, y->attn_contributors, err));
	EVN_TRY(keep(n, y->middle, err));
	if (evn_range_len(y->ff)) {
		EVN_TRY(gate(n, y, err));
		EVN_TRY(give_product(n, &y->down, a->gated, n->gated_stride, err));
	}
	return add_partials(n, n->x, y->ff_contributors, err);
}

/* ---- backward ---------------------------------------------------------------------------------------------- */

static evn_status feed_forward_back(evn_network *n, const evn_train_layer *y, evn_error *err)
{
	const evn_activations *a = &y->kept;
	const evn_products *p = &n->products;
	if (n->shape.recompute)
		EVN_TRY(gate(n, y, err));
	EVN_TRY(
		evn_linear_backward(&y->down, p, n->d_gated, a->gated, n->gated_stride, n->dx, n->dim_stride, n->n_tok, err));
	EVN_TRY(evn_op_swiglu_backward(n->backward, n->d_gate_up, a->gate_up, n->gate_up_stride, y->up_offset, n->d_gated,
								   n->gated_stride, evn_range_len(y->ff), n->n_tok, err));
	EVN_TRY(evn_linear_backward(&y->gate_up, p, n->d_normed, a->ffn_normed, n->dim_stride, n->d_gate_up,
								n->gate_up_stride, n->n_tok, err));
	return norm_back(n, y->middle, &y->ffn_norm, err);
}

static evn_status attention_back(evn_network *n, const evn_train_layer *y, evn_error *err)
{
	const evn_activations *a = &y->kept;
	const evn_products *p = &n->products;
	const evn_sequences s = sequences(n, y);
	if (n->shape.recompute)
		EVN_TRY(attend(n, y, err));
	EVN_TRY(evn_linear_backward(&y->attn_out, p, n->d_attended, a->attended, n->attended_stride, n->dx, n->dim_stride,
								n->n_tok, err));
	EVN_TRY(evn_op_attention_backward(n->backward, n->d_qkv, n->delta, a->qkv, a->attended, n->d_attended, a->lse, &s,
									  err));
	EVN_TRY(evn_op_rope_rows(n->backward, n->d_qkv, &s, n->rope, true, err));
	EVN_TRY(evn_linear_backward(&y->qkv, p, n->d_normed, a->attn_normed, n->dim_stride, n->d_qkv, n->qkv_stride,
								n->n_tok, err));
	return norm_back(n, y->input, &y->attn_norm, err);
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

static evn_status embed(evn_network *n, const evn_batch *batch, evn_error *err)
{
	uint64_t bytes = (uint64_t)n->n_tok * n->dim_stride * sizeof(float);
	if (batch->embeddings)
		return evn_write(n->q, n->x, 0, batch->embeddings, bytes, err);
	EVN_TRY(evn_fill_zero(n->q, n->x, err));
	if (evn_range_len(n->vocab))
		EVN_TRY(evn_op_embed(n->backward, evn_group_partial(n->group, n->rank), n->embedding.value, n->ids,
							 n->vocab.begin, evn_range_len(n->vocab), n->dim_stride, n->n_tok, err));
	return add_partials(n, n->x, n->vocab_contributors, err);
}

/* Tokens sorted by the vocabulary row they look up, in their own order within a row: sums have one order. */
static evn_status embed_back(evn_network *n, const evn_batch *batch, evn_error *err)
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

/* ---- the pass ---------------------------------------------------------------------------------------------- */

static evn_status walk(evn_network *n, const evn_batch *batch, float gradient_scale, evn_error *err)
{
	uint64_t id_bytes = (uint64_t)n->n_tok * sizeof(uint32_t);
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
		EVN_TRY(evn_group_check(n->group, err));
	}
	return embed_back(n, batch, err);
}

evn_status evn_network_pass(evn_network *n, const evn_batch *batch, float gradient_scale, float *losses,
							evn_error *err)
{
	evn_group_step_begin(n->group, n->rank);
	EVN_TRY(walk(n, batch, gradient_scale, err));
	EVN_TRY(evn_group_step_end(n->group, n->rank, err));
	return losses ? evn_read(n->q, n->losses, 0, losses, (uint64_t)n->n_tok * sizeof *losses, err) : EVN_OK;
}
