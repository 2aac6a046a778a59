/* decoder.c - the layer walk. Every rank's thread runs it; the two all_reduce calls of a layer are where they meet,
 * and each also makes the norm that comes next.
 */
#include "nn/decoder.h"

#include <string.h>

#include "nn/decoder_rank.h"
#include "nn/ops_half.h"

uint64_t evn_decoder_message_floats(const evn_model *m, evn_decoder_limits limits)
{
	return evn_round_up(evn_model_hparams(m)->dim, EVN_PAD) * limits.n_batch;
}

/* The norm of the residual as the product with m reads it; NULL where this rank has no such product. */
static const evn_norm *norm_for(const evn_decoder *d, const evn_matrix *m, const evn_norm_weights *w, uint32_t n_tok,
								evn_norm *out)
{
	if (!m->n_parts)
		return NULL;
	*out = (evn_norm){.kind = d->arch->norm,
					  .form = evn_op_form(d->ops, m, n_tok),
					  .y = d->normed,
					  .w = w->weight,
					  .bias = w->bias,
					  .dim = d->h->dim,
					  .eps = d->h->norm_eps};
	return out;
}

static evn_status norm_rows(const evn_decoder *d, const evn_norm *norm, uint32_t first, uint32_t n_tok,
							evn_error *err)
{
	return norm ? evn_op_norm(d->ops, norm, d->x, first, n_tok, d->dim_stride, err) : EVN_OK;
}

static evn_attention attention_of(const evn_decoder *d, const evn_layer *y, const evn_kv *kv, uint32_t position)
{
	const size_t i = (size_t)(y - d->layers);
	return (evn_attention){.n_heads = evn_range_len(y->heads),
						   .n_kv = evn_range_len(y->kv_heads),
						   .first_head = y->heads.begin,
						   .first_kv = y->kv_heads.begin,
						   .n_ctx = d->limits.n_ctx,
						   .position = position,
						   .qkv = d->qkv,
						   .qkv_stride = d->qkv_stride,
						   .k_offset = y->k_offset,
						   .v_offset = y->v_offset,
						   .rope = d->rope,
						   .q_norm = y->q_norm,
						   .k_norm = y->k_norm,
						   .norm_eps = d->h->norm_eps,
						   .k_cache = kv->k[i],
						   .v_cache = kv->v[i]};
}

static evn_status attend(evn_decoder *d, const evn_layer *y, const evn_attention *a, evn_buf *partial, uint32_t n,
						 evn_error *err)
{
	const evn_half half = {.y = partial, .x = d->normed, .in = &y->qkv, .out = &y->attn_out};
	evn_ops *o = d->ops;
	if (!y->qkv_bias && evn_op_fuses(o, &half, n))
		return evn_op_attention_half(o, d->attention_ops, &half, a, d->attended, d->attended_stride, err);
	EVN_TRY(evn_op_linear(o, d->qkv, d->qkv_stride, d->normed, d->dim_stride, &y->qkv, n, err));
	if (y->qkv_bias)
		EVN_TRY(evn_op_add_bias(o, d->qkv, d->qkv_stride, y->qkv_bias, y->qkv.rows, n, err));
	EVN_TRY(evn_op_attention(d->attention_ops, evn_op_form(o, &y->attn_out, n), d->attended, d->attended_stride,
							 y->attn_out.x_shift, a, n, err));
	return evn_op_linear(o, partial, d->dim_stride, d->attended, d->attended_stride, &y->attn_out, n, err);
}

/* This rank's heads of attention over d->normed; its part of the output projection is written to partial. */
static evn_status attention(evn_decoder *d, const evn_layer *y, const evn_kv *kv, evn_buf *partial,
							const evn_step *step, evn_error *err)
{
	const evn_attention a = attention_of(d, y, kv, step->position);
	EVN_TRY(attend(d, y, &a, partial, step->n_tok, err));
	if (!y->attn_out_bias)
		return EVN_OK;
	return evn_op_add_bias(d->ops, partial, d->dim_stride, y->attn_out_bias, y->attn_out.rows, step->n_tok, err);
}

static evn_status expand_and_contract(evn_decoder *d, const evn_ff *f, evn_buf *partial, uint32_t n, evn_error *err)
{
	const evn_half half = {.y = partial, .x = d->normed, .in = &f->gate_up, .out = &f->down};
	if (f->up_offset && !f->gate_up_bias && evn_op_fuses(d->ops, &half, n))
		return evn_op_feed_forward_half(d->ops, &half, f->up_offset, d->gated, d->gated_stride, err);
	EVN_TRY(d->arch->expand(d, f, evn_op_form(d->ops, &f->down, n), n, err));
	return evn_op_linear(d->ops, partial, d->dim_stride, d->gated, d->gated_stride, &f->down, n, err);
}

/* This rank's units of the feed-forward network over d->normed; its part of the down projection is written to
 * partial. */
static evn_status feed_forward(evn_decoder *d, const evn_ff *f, evn_buf *partial, uint32_t n, evn_error *err)
{
	EVN_TRY(expand_and_contract(d, f, partial, n, err));
	if (!f->down_bias)
		return EVN_OK;
	return evn_op_add_bias(d->ops, partial, d->dim_stride, f->down_bias, f->down.rows, n, err);
}

static evn_status all_reduce(evn_decoder *d, evn_group *g, uint32_t n_tok, uint32_t contributors,
							 const evn_norm *then, evn_error *err)
{
	const evn_sum sum = {d->x, n_tok, d->dim_stride, contributors, then};
	return evn_all_reduce_norm(g, d->rank, &sum, err);
}

/* Of few tokens whose logits are all wanted, the last layer's sum makes the head's norm too. */
static bool head_norm_is_made(const evn_step *step)
{
	return step->n_logits == step->n_tok && step->n_tok <= EVN_LOGITS_TOKENS;
}

/* This rank's columns of the logits of tokens [first, first + n), read into the host matrix. */
static evn_status logits_chunk(evn_decoder *d, const evn_step *step, uint32_t first, uint32_t n, float *out,
							   evn_error *err)
{
	evn_norm norm;
	if (!head_norm_is_made(step))
		EVN_TRY(norm_rows(d, norm_for(d, &d->head, &d->out_norm, n, &norm), first, n, err));
	EVN_TRY(evn_op_linear(d->ops, d->logits, d->head.rows, d->normed, d->dim_stride, &d->head, n, err));
	if (d->head_bias)
		EVN_TRY(evn_op_add_bias(d->ops, d->logits, d->head.rows, d->head_bias, d->head.rows, n, err));
	uint64_t width = evn_range_len(d->vocab);
	for (uint32_t t = 0; t < n; t++)
		EVN_TRY(evn_read(d->q, d->logits, (uint64_t)t * d->head.rows * sizeof(float),
						 out + (uint64_t)t * d->h->vocab + d->vocab.begin, width * sizeof(float), err));
	return EVN_OK;
}

static evn_status all_logits(evn_decoder *d, const evn_step *step, evn_error *err)
{
	if (!evn_range_len(d->vocab))
		return EVN_OK;
	for (uint32_t done = 0; done < step->n_logits; done += EVN_LOGITS_TOKENS) {
		uint32_t n = step->n_logits - done < EVN_LOGITS_TOKENS ? step->n_logits - done : EVN_LOGITS_TOKENS;
		EVN_TRY(logits_chunk(d, step, step->n_tok - step->n_logits + done, n,
							 step->logits + (uint64_t)done * d->h->vocab, err));
	}
	return EVN_OK;
}

/* Between layers a step can be given up. Of a long prompt the host waits for each layer, or it would have enqueued
 * them all before anybody could change his mind; for one token that wait would cost too much. */
static evn_status pause(evn_decoder *d, evn_group *g, uint32_t n_tok, evn_error *err)
{
	if (n_tok > EVN_PAD)
		EVN_TRY(evn_queue_finish(d->q, err));
	return evn_group_check(g, err);
}

/* The norm that follows the last layer of those before `layer`. */
static const evn_norm *norm_before(const evn_decoder *d, uint32_t layer, const evn_step *step, evn_norm *out)
{
	if (layer < d->n_layers)
		return norm_for(d, &d->layers[layer].qkv, &d->layers[layer].attn_norm, step->n_tok, out);
	return head_norm_is_made(step) ? norm_for(d, &d->head, &d->out_norm, step->n_tok, out) : NULL;
}

static evn_status layer(evn_decoder *d, uint32_t i, evn_kv *kv, evn_group *g, const evn_step *step, evn_error *err)
{
	const evn_layer *y = &d->layers[i];
	const evn_ff *f = &y->ff[evn_phase_of(step->n_tok)];
	uint32_t n = step->n_tok;
	evn_norm norm;
	if (evn_range_len(y->heads))
		EVN_TRY(attention(d, y, kv, evn_group_partial(g, d->rank), step, err));
	EVN_TRY(all_reduce(d, g, n, y->attn_contributors, norm_for(d, &f->gate_up, &y->ffn_norm, n, &norm), err));
	if (evn_range_len(f->units))
		EVN_TRY(feed_forward(d, f, evn_group_partial(g, d->rank), n, err));
	return all_reduce(d, g, n, f->contributors, norm_before(d, i + 1, step, &norm), err);
}

evn_status evn_decoder_step(evn_decoder *d, evn_kv *kv, evn_group *g, const evn_step *step, evn_error *err)
{
	evn_norm norm;
	evn_group_step_begin(g, d->rank);
	EVN_TRY(evn_write(d->q, d->x, 0, step->embeddings, (uint64_t)step->n_tok * d->dim_stride * sizeof(float), err));
	EVN_TRY(norm_rows(d, norm_before(d, 0, step, &norm), 0, step->n_tok, err));
	for (uint32_t i = 0; i < d->n_layers; i++) {
		EVN_TRY(layer(d, i, kv, g, step, err));
		EVN_TRY(pause(d, g, step->n_tok, err));
	}
	EVN_TRY(all_logits(d, step, err));
	return evn_group_step_end(g, d->rank, err);
}
