/* decoder.c - the layer walk. Every rank's thread runs it; the two sums of a layer are where they meet, and each also
 * makes the norm that comes next. Where messages can overlap, a prompt's step goes in two pieces, half a layer of the
 * one after half a layer of the other: the partial sums of one are on their way while the device works on the other.
 */
#include "nn/decoder.h"

#include <string.h>

#include "nn/decoder_rank.h"
#include "nn/ops_half.h"

uint64_t evn_decoder_message_floats(const evn_model *m, evn_decoder_limits limits)
{
	return evn_round_up(evn_model_hparams(m)->dim, EVN_PAD) * limits.n_batch;
}

/* Tokens of a step that go through the layers together. */
typedef struct {
	evn_step step;
	uint32_t lane;
	bool overlaps; /* there is another piece */
	evn_buf *x, *normed;
} piece;

#define MAX_PIECES EVN_DECODER_LANES

static piece make_piece(const evn_decoder *d, const evn_step *step, uint32_t lane, bool overlaps)
{
	return (piece){*step, lane, overlaps, d->lanes[lane].x, d->lanes[lane].normed};
}

/* The step's pieces in order; returns how many. */
static uint32_t cut_step(const evn_decoder *d, const evn_comm *g, const evn_step *step, piece pieces[MAX_PIECES])
{
	uint32_t first = (uint32_t)evn_round_up((step->n_tok + 1) / 2, EVN_PAD), rest = step->n_tok - first;
	if (first >= step->n_tok || !evn_comm_overlaps(g, (uint64_t)rest * d->dim_stride)) {
		pieces[0] = make_piece(d, step, 0, false);
		return 1;
	}
	evn_step a = *step, b = *step;
	b.n_tok = rest;
	b.position += first;
	b.embeddings += (uint64_t)first * d->dim_stride;
	b.n_logits = step->n_logits < rest ? step->n_logits : rest;
	a.n_tok = first;
	a.n_logits = step->n_logits - b.n_logits;
	b.logits += (uint64_t)a.n_logits * d->h->vocab;
	pieces[0] = make_piece(d, &a, 0, true);
	pieces[1] = make_piece(d, &b, 1, true);
	return 2;
}

/* The norm of the residual as the product with m reads it; NULL where this rank has no such product. */
static const evn_norm *norm_for(const evn_decoder *d, const piece *p, const evn_matrix *m, const evn_norm_weights *w,
								uint32_t n_tok, evn_norm *out)
{
	if (!m->n_parts)
		return NULL;
	*out = (evn_norm){.kind = d->arch->norm,
					  .form = evn_op_form(d->ops, m, n_tok),
					  .y = p->normed,
					  .w = w->weight,
					  .bias = w->bias,
					  .dim = d->h->dim,
					  .eps = d->h->norm_eps};
	return out;
}

static evn_status norm_rows(const evn_decoder *d, const piece *p, const evn_norm *norm, uint32_t first,
							uint32_t n_tok, evn_error *err)
{
	return norm ? evn_op_norm(d->ops, norm, p->x, first, n_tok, d->dim_stride, err) : EVN_OK;
}

static evn_attention attention_of(const evn_decoder *d, const evn_layer *y, const evn_kv *kv, uint32_t position)
{
	const size_t i = (size_t)(y - d->layers);
	return (evn_attention){.n_heads = evn_range_len(y->heads),
						   .n_kv = evn_range_len(y->kv_heads),
						   .first_head = y->heads.begin,
						   .first_kv = y->kv_heads.begin,
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

static evn_status attend(evn_decoder *d, const evn_layer *y, const piece *p, const evn_attention *a, evn_buf *partial,
						 evn_error *err)
{
	const uint32_t n = p->step.n_tok;
	const evn_half half = {.y = partial, .x = p->normed, .in = &y->qkv, .out = &y->attn_out};
	evn_ops *o = d->ops;
	if (!y->qkv_bias && evn_op_fuses(o, &half, n))
		return evn_op_attention_half(o, d->attention_ops, &half, a, d->attended, d->attended_stride, err);
	EVN_TRY(evn_op_linear(o, d->qkv, d->qkv_stride, p->normed, d->dim_stride, &y->qkv, n, err));
	if (y->qkv_bias)
		EVN_TRY(evn_op_add_bias(o, d->qkv, d->qkv_stride, y->qkv_bias, y->qkv.rows, n, err));
	EVN_TRY(evn_op_attention(d->attention_ops, evn_op_form(o, &y->attn_out, n), d->attended, d->attended_stride,
							 y->attn_out.x_shift, a, n, err));
	return evn_op_linear(o, partial, d->dim_stride, d->attended, d->attended_stride, &y->attn_out, n, err);
}

/* This rank's heads of attention over normed rows; its part of the output projection is written to partial. */
static evn_status attention(evn_decoder *d, const evn_layer *y, const evn_kv *kv, evn_buf *partial, const piece *p,
							evn_error *err)
{
	const evn_attention a = attention_of(d, y, kv, p->step.position);
	EVN_TRY(attend(d, y, p, &a, partial, err));
	if (!y->attn_out_bias)
		return EVN_OK;
	return evn_op_add_bias(d->ops, partial, d->dim_stride, y->attn_out_bias, y->attn_out.rows, p->step.n_tok, err);
}

static evn_status expand_and_contract(evn_decoder *d, const evn_ff *f, evn_buf *partial, const piece *p,
									  evn_error *err)
{
	const uint32_t n = p->step.n_tok;
	const evn_half half = {.y = partial, .x = p->normed, .in = &f->gate_up, .out = &f->down};
	if (f->up_offset && !f->gate_up_bias && evn_op_fuses(d->ops, &half, n))
		return evn_op_feed_forward_half(d->ops, &half, f->up_offset, d->gated, d->gated_stride, err);
	EVN_TRY(d->arch->expand(d, f, evn_op_form(d->ops, &f->down, n), p->normed, n, err));
	return evn_op_linear(d->ops, partial, d->dim_stride, d->gated, d->gated_stride, &f->down, n, err);
}

/* This rank's units of the feed-forward network over normed rows; its part of the down projection is written to
 * partial. */
static evn_status feed_forward(evn_decoder *d, const evn_ff *f, evn_buf *partial, const piece *p, evn_error *err)
{
	EVN_TRY(expand_and_contract(d, f, partial, p, err));
	if (!f->down_bias)
		return EVN_OK;
	return evn_op_add_bias(d->ops, partial, d->dim_stride, f->down_bias, f->down.rows, p->step.n_tok, err);
}

/* Of few tokens whose logits are all wanted, the last layer's sum makes the head's norm too. */
static bool head_norm_is_made(const evn_step *step)
{
	return step->n_logits == step->n_tok && step->n_tok <= EVN_LOGITS_TOKENS;
}

/* This rank's columns of the logits of tokens [first, first + n), read into the host matrix. */
static evn_status logits_chunk(evn_decoder *d, const piece *p, uint32_t first, uint32_t n, float *out, evn_error *err)
{
	evn_norm norm;
	if (!head_norm_is_made(&p->step))
		EVN_TRY(norm_rows(d, p, norm_for(d, p, &d->head, &d->out_norm, n, &norm), first, n, err));
	EVN_TRY(evn_op_linear(d->ops, d->logits, d->head.rows, p->normed, d->dim_stride, &d->head, n, err));
	if (d->head_bias)
		EVN_TRY(evn_op_add_bias(d->ops, d->logits, d->head.rows, d->head_bias, d->head.rows, n, err));
	uint64_t width = evn_range_len(d->vocab);
	for (uint32_t t = 0; t < n; t++)
		EVN_TRY(evn_read(d->q, d->logits, (uint64_t)t * d->head.rows * sizeof(float),
						 out + (uint64_t)t * d->h->vocab + d->vocab.begin, width * sizeof(float), err));
	return EVN_OK;
}

static evn_status all_logits(evn_decoder *d, const piece *p, evn_error *err)
{
	const evn_step *step = &p->step;
	if (!evn_range_len(d->vocab))
		return EVN_OK;
	for (uint32_t done = 0; done < step->n_logits; done += EVN_LOGITS_TOKENS) {
		uint32_t n = step->n_logits - done < EVN_LOGITS_TOKENS ? step->n_logits - done : EVN_LOGITS_TOKENS;
		EVN_TRY(logits_chunk(d, p, step->n_tok - step->n_logits + done, n,
							 step->logits + (uint64_t)done * d->h->vocab, err));
	}
	return EVN_OK;
}

/* Between layers a step can be given up. Of a long prompt the host waits for each layer, or it would have enqueued
 * them all before anybody could change his mind; for one token that wait would cost too much. */
static evn_status pause(evn_decoder *d, evn_comm *g, uint32_t n_tok, evn_error *err)
{
	if (n_tok > EVN_PAD)
		EVN_TRY(evn_queue_finish(d->q, err));
	return evn_comm_check(g, err);
}

/* ---- half-layers --------------------------------------------------------------------------------------------------
 * 2 i is the attention of layer i, 2 i + 1 its feed-forward network.
 */

static const evn_ff *ff_of(const evn_layer *y, const piece *p) { return &y->ff[evn_phase_of(p->step.n_tok)]; }

/* The norm that half-layer `half` reads; behind the last, the head's. */
static const evn_norm *norm_before(const evn_decoder *d, uint32_t half, const piece *p, evn_norm *out)
{
	const evn_layer *y = &d->layers[half / 2];
	const uint32_t n = p->step.n_tok;
	if (half < 2 * d->n_layers)
		return half % 2 ? norm_for(d, p, &ff_of(y, p)->gate_up, &y->ffn_norm, n, out)
						: norm_for(d, p, &y->qkv, &y->attn_norm, n, out);
	return head_norm_is_made(&p->step) ? norm_for(d, p, &d->head, &d->out_norm, n, out) : NULL;
}

/* The sum that follows the half-layer, and the norm that comes then. */
static evn_sum sum_behind(const evn_decoder *d, uint32_t half, const piece *p, evn_norm *norm)
{
	const evn_layer *y = &d->layers[half / 2];
	return (evn_sum){.x = p->x,
					 .n_rows = p->step.n_tok,
					 .stride = d->dim_stride,
					 .ranks = half % 2 ? ff_of(y, p)->contributors : y->attn_contributors,
					 .slot = p->lane,
					 .overlaps = p->overlaps,
					 .packs = p->step.n_tok > 1,
					 .then = norm_before(d, half + 1, p, norm)};
}

/* What comes before half-layer `half` is ended, the half computed, and its sum begun. */
static evn_status half_layer(evn_decoder *d, uint32_t half, evn_kv *kv, evn_comm *g, const piece *p, evn_error *err)
{
	const evn_layer *y = &d->layers[half / 2];
	evn_norm norm;
	if (half) {
		const evn_sum before = sum_behind(d, half - 1, p, &norm);
		EVN_TRY(evn_comm_all_reduce_end(g, d->rank, &before, err));
	}
	evn_buf *partial = evn_comm_partial(g, d->rank, p->lane);
	if (half % 2 == 0 && evn_range_len(y->heads))
		EVN_TRY(attention(d, y, kv, partial, p, err));
	if (half % 2 && evn_range_len(ff_of(y, p)->units))
		EVN_TRY(feed_forward(d, ff_of(y, p), partial, p, err));
	const evn_sum after = sum_behind(d, half, p, &norm);
	return evn_comm_all_reduce_begin(g, d->rank, &after, err);
}

static evn_status begin_piece(evn_decoder *d, const piece *p, evn_error *err)
{
	evn_norm norm;
	EVN_TRY(
		evn_write(d->q, p->x, 0, p->step.embeddings, (uint64_t)p->step.n_tok * d->dim_stride * sizeof(float), err));
	return norm_rows(d, p, norm_before(d, 0, p, &norm), 0, p->step.n_tok, err);
}

static evn_status end_piece(evn_decoder *d, evn_comm *g, const piece *p, evn_error *err)
{
	evn_norm norm;
	if (d->n_layers) {
		const evn_sum last = sum_behind(d, 2 * d->n_layers - 1, p, &norm);
		EVN_TRY(evn_comm_all_reduce_end(g, d->rank, &last, err));
	}
	return all_logits(d, p, err);
}

evn_status evn_decoder_step(evn_decoder *d, evn_kv *kv, evn_comm *g, const evn_step *step, evn_error *err)
{
	piece pieces[MAX_PIECES];
	evn_comm_step_begin(g, d->rank);
	const uint32_t n = cut_step(d, g, step, pieces);
	for (uint32_t i = 0; i < n; i++)
		EVN_TRY(begin_piece(d, &pieces[i], err));
	for (uint32_t half = 0; half < 2 * d->n_layers; half++) {
		for (uint32_t i = 0; i < n; i++)
			EVN_TRY(half_layer(d, half, kv, g, &pieces[i], err));
		if (half % 2)
			EVN_TRY(pause(d, g, step->n_tok, err));
	}
	for (uint32_t i = 0; i < n; i++)
		EVN_TRY(end_piece(d, g, &pieces[i], err));
	return evn_comm_step_end(g, d->rank, err);
}
