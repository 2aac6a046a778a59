/* network_make.c - sizes and buffers of a network, and its end. */
#include "train/network_make.h"

#include <math.h>
#include <stdlib.h>

#include "nn/embed.h"
#include "nn/rope.h"
#include "train/tokens.h"

#define LOGITS_BYTES ((uint64_t)32 << 20) /* of a whole vocabulary's logits, for as many tokens as fit */

static uint32_t padded(uint32_t n) { return (uint32_t)evn_round_up(n, EVN_PAD); }

static uint32_t loss_tokens(const evn_hparams *h, uint32_t n_tok)
{
	uint64_t fit = LOGITS_BYTES / (padded(h->vocab) * sizeof(float));
	return fit >= n_tok ? n_tok : fit ? (uint32_t)fit : 1;
}

/* What the walk back does not know. */
static bool walks_back(const evn_graph *g)
{
	const evn_hparams *h = g->h;
	bool known = g->n_blocks == 2 * h->n_layers && g->embedding_scale == 1 && g->logit_scale == 1;
	for (uint32_t i = 0; i < g->n_blocks && known; i++) {
		const evn_block *b = &g->blocks[i];
		known &= b->kind == (i % 2 ? EVN_BLOCK_FEED_FORWARD : EVN_BLOCK_ATTENTION) && b->residual_scale == 1;
		if (b->kind == EVN_BLOCK_ATTENTION)
			known &= !b->attention.qk_norm && b->attention.rotates == (h->rope_dim > 0) &&
					 b->attention.scale == 1.0f / sqrtf((float)h->head_dim);
		else
			known &= b->feed_forward.gated == (b->feed_forward.act == EVN_SILU);
	}
	return known;
}

static evn_status check_model(const evn_graph *g, evn_error *err)
{
	const char *name = evn_gguf_name(evn_model_gguf(g->model));
	if (!walks_back(g))
		return evn_fail(
			err, EVN_ERR_UNSUPPORTED,
			"%s: a %.*s model cannot be trained, only blocks as those of llama and gpt2 without head norms", name,
			(int)g->h->arch.length, g->h->arch.text);
	if (g->h->ff_dim % EVN_TILE_ROWS)
		return evn_fail(err, EVN_ERR_UNSUPPORTED, "%s: %u feed-forward units, training needs a multiple of %d", name,
						g->h->ff_dim, EVN_TILE_ROWS);
	return EVN_OK;
}

static evn_status check_targets(const evn_graph *g, const evn_trained *trained, evn_error *err)
{
	for (uint32_t i = 0; i < EVN_TARGETS && trained->lora_rank; i++) {
		const evn_tensor *t;
		bool wanted = trained->lora_targets >> i & 1;
		if (wanted && (!g->n_blocks || evn_block_tensor(g, &g->blocks[0], evn_target_names[i], &t, NULL) != EVN_OK))
			return evn_fail(err, EVN_ERR_USAGE, "%s: LoRA target \"%s\" is not a matrix of this model",
							evn_gguf_name(evn_model_gguf(g->model)), evn_target_names[i]);
	}
	return EVN_OK;
}

/* What is summed over ranks is counted in 32 bits too. */
static evn_status check_tokens(const evn_hparams *h, const evn_pass_shape *shape, evn_error *err)
{
	evn_token_counts n;
	EVN_TRY(evn_count_tokens(&n, shape->n_ctx, shape->n_sequences, 1, err));
	if ((uint64_t)n.of_pass * padded(h->dim) > UINT32_MAX)
		return evn_fail(err, EVN_ERR_LIMIT, "tokens of a pass: %u of %u floats each are more than %u", n.of_pass,
						padded(h->dim), UINT32_MAX);
	return EVN_OK;
}

static evn_status check(const evn_graph *g, const evn_trained *trained, const evn_pass_shape *shape, evn_error *err)
{
	evn_embedding embedding;
	EVN_TRY(check_model(g, err));
	EVN_TRY(check_targets(g, trained, err));
	if (!shape->n_ctx || (g->n_blocks && shape->n_ctx % EVN_SEQUENCE_GRAIN))
		return evn_fail(err, EVN_ERR_USAGE, "context %u: training needs a multiple of %d", shape->n_ctx,
						EVN_SEQUENCE_GRAIN);
	EVN_TRY(evn_embedding_find(&embedding, g, err));
	if (shape->n_ctx > embedding.n_positions)
		return evn_fail(err, EVN_ERR_USAGE, "context %u: %s has learned %u positions", shape->n_ctx,
						evn_gguf_name(evn_model_gguf(g->model)), embedding.n_positions);
	return check_tokens(evn_model_hparams(g->model), shape, err);
}

evn_status evn_network_check(const evn_model *m, const evn_trained *trained, const evn_pass_shape *shape,
							 evn_error *err)
{
	evn_graph *g;
	EVN_TRY(evn_graph_make(&g, m, err));
	evn_status s = check(g, trained, shape, err);
	evn_graph_free(g);
	return s;
}

uint64_t evn_network_message(const evn_model *m, const evn_trained *trained, const evn_pass_shape *shape,
							 uint32_t n_ranks)
{
	const evn_hparams *h = evn_model_hparams(m);
	const uint32_t n_tok = evn_pass_tokens(shape);
	uint64_t wide = h->ff_dim > h->dim ? h->ff_dim : h->dim; /* of LoRA's replicated halves */
	/* Two ranks may hold a KV head; its rows may lie behind those of q. */
	bool shares = !trained->lora_rank && h->n_kv_heads < h->n_heads;
	uint64_t kv = shares ? (uint64_t)(h->n_heads + 2 * h->n_kv_heads) * h->head_dim * padded(h->dim) : 0;
	const uint64_t sizes[] = {(uint64_t)n_tok * padded(h->dim), evn_loss_floats(loss_tokens(h, n_tok), n_ranks), kv,
							  padded((uint32_t)wide) * (uint64_t)padded(trained->lora_rank + 1)};
	uint64_t most = 0;
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
		most = sizes[i] > most ? sizes[i] : most;
	return most;
}

uint64_t evn_network_activation_bytes(const evn_hparams *h, const evn_pass_shape *shape)
{
	uint64_t columns = 2 * (uint64_t)h->dim + (uint64_t)(2 * h->n_heads + 2 * h->n_kv_heads) * h->head_dim +
					   3 * (uint64_t)h->ff_dim + h->n_heads;
	return columns * shape->n_ctx * shape->n_sequences * h->n_layers * sizeof(float);
}

/* Zeroed: the columns between width and stride must be zeros, and nothing writes them later. */
static evn_status make(const evn_network *n, evn_buf **out, uint64_t floats, const char *what, evn_error *err)
{
	if (!floats)
		return EVN_OK;
	EVN_TRY(evn_buf_create(out, evn_queue_device(n->q), floats * sizeof(float), EVN_BUF_DEVICE, what, err));
	return evn_fill_zero(n->q, *out, err);
}

static void grow(uint32_t *stride, uint32_t columns)
{
	if (padded(columns) > *stride)
		*stride = padded(columns);
}

static uint32_t rows_of(const evn_linear *l) { return l->weight.rows ? l->weight.rows : l->frozen.rows; }
static uint32_t columns_of(const evn_linear *l) { return l->weight.rows ? l->in : l->frozen.columns; }

static void find_strides(evn_network *n)
{
	n->dim_stride = padded(n->h->dim);
	for (uint32_t i = 0; i < n->n_layers; i++) {
		const evn_train_layer *y = &n->layers[i];
		grow(&n->qkv_stride, rows_of(&y->qkv));
		grow(&n->attended_stride, columns_of(&y->attn_out));
		grow(&n->gate_up_stride, rows_of(&y->gate_up));
		grow(&n->gated_stride, columns_of(&y->down));
	}
	n->loss_tokens = loss_tokens(n->h, n->n_tok);
	n->logits_stride = padded(evn_range_len(n->vocab));
	grow(&n->logits_stride, n->head.frozen.rows);
}

static evn_status make_activations(const evn_network *n, evn_activations *a, evn_error *err)
{
	const uint64_t t = n->n_tok;
	EVN_TRY(make(n, &a->attn_normed, t * n->dim_stride, "activations", err));
	EVN_TRY(make(n, &a->qkv, t * n->qkv_stride, "activations", err));
	EVN_TRY(make(n, &a->attended, t * n->attended_stride, "activations", err));
	EVN_TRY(make(n, &a->lse, t * n->h->n_heads, "activations", err));
	EVN_TRY(make(n, &a->ffn_normed, t * n->dim_stride, "activations", err));
	EVN_TRY(make(n, &a->gate_up, t * n->gate_up_stride, "activations", err));
	return make(n, &a->gated, t * n->gated_stride, "activations", err);
}

static evn_status make_layers(evn_network *n, evn_error *err)
{
	if (n->shape.recompute)
		EVN_TRY(make_activations(n, &n->shared, err));
	for (uint32_t i = 0; i < n->n_layers; i++) {
		evn_train_layer *y = &n->layers[i];
		EVN_TRY(make(n, &y->input, (uint64_t)n->n_tok * n->dim_stride, "activations", err));
		EVN_TRY(make(n, &y->middle, (uint64_t)n->n_tok * n->dim_stride, "activations", err));
		if (n->shape.recompute)
			y->kept = n->shared;
		else
			EVN_TRY(make_activations(n, &y->kept, err));
	}
	return EVN_OK;
}

static uint64_t longest_param(const evn_network *n)
{
	uint64_t most = 1;
	for (uint32_t i = 0; i < n->n_params; i++)
		if (evn_param_floats(n->params[i]) > most)
			most = evn_param_floats(n->params[i]);
	return most;
}

static uint64_t longest_message(const evn_network *n)
{
	uint64_t most = 0;
	for (uint32_t i = 0; i < n->n_params; i++)
		for (uint32_t k = 0; k < n->params[i]->n_pieces; k++) {
			const evn_piece *p = &n->params[i]->pieces[k];
			if (p->shared && evn_piece_message(n->params[i], p) > most)
				most = evn_piece_message(n->params[i], p);
		}
	return most;
}

static evn_status make_scratch(evn_network *n, evn_error *err)
{
	const uint64_t t = n->n_tok, low = n->trained.lora_rank ? padded(n->trained.lora_rank) : 0;
	const struct {
		evn_buf **buf;
		uint64_t floats;
	} wanted[] = {
		{&n->x, t * n->dim_stride},
		{&n->normed, t * n->dim_stride},
		{&n->dx, t * n->dim_stride},
		{&n->d_normed, t * n->dim_stride},
		{&n->d_qkv, t * n->qkv_stride},
		{&n->d_attended, t * n->attended_stride},
		{&n->d_gate_up, t * n->gate_up_stride},
		{&n->d_gated, t * n->gated_stride},
		{&n->moments, 2 * t},
		{&n->delta, t * n->h->n_heads},
		{&n->sink, n->dim_stride},
		{&n->logits, (uint64_t)n->loss_tokens * (n->logits_stride ? n->logits_stride : 1)},
		{&n->x_piece, (uint64_t)n->loss_tokens * n->dim_stride},
		{&n->d_piece, (uint64_t)n->loss_tokens * n->dim_stride},
		{&n->stats, evn_loss_floats(n->loss_tokens, n->n_ranks)},
		{&n->losses, t},
		{&n->ids, t},
		{&n->targets, t},
		{&n->starts, evn_range_len(n->vocab) + 1u},
		{&n->order, t},
		{&n->message, longest_message(n)},
		{&n->squares, longest_param(n) / EVN_SQUARES_PIECE + 1},
		{&n->total, 16},
		{&n->products.low, t * low},
		{&n->products.d_low, t * low},
	};
	for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
		EVN_TRY(make(n, wanted[i].buf, wanted[i].floats, "scratch", err));
	return EVN_OK;
}

static evn_status make_rope(evn_network *n, evn_error *err)
{
	uint64_t bytes = (uint64_t)n->shape.n_ctx * n->h->rope_dim * sizeof(float);
	void *table;
	if (!bytes)
		return EVN_OK;
	EVN_TRY(evn_buf_create(&n->rope, evn_queue_device(n->q), bytes, EVN_BUF_DEVICE, "rope table", err));
	EVN_TRY(evn_map(n->q, n->rope, bytes, EVN_MAP_OVERWRITE, true, &table, err));
	evn_rope_table(n->h, n->shape.n_ctx, table);
	return evn_unmap(n->q, n->rope, table, err);
}

evn_status evn_network_make_buffers(evn_network *n, evn_error *err)
{
	find_strides(n);
	EVN_TRY(make_layers(n, err));
	EVN_TRY(make_rope(n, err));
	return make_scratch(n, err);
}

/* ---- the end ------------------------------------------------------------------------------------------------ */

static void free_activations(evn_activations *a)
{
	evn_buf *const bufs[] = {a->attn_normed, a->qkv, a->attended, a->lse, a->ffn_normed, a->gate_up, a->gated};
	for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++)
		evn_buf_free(bufs[i]);
}

static void free_norm(evn_train_norm *norm)
{
	evn_param_free(&norm->weight);
	evn_param_free(&norm->bias);
}

static void free_layer(const evn_network *n, evn_train_layer *y)
{
	evn_linear *const linears[] = {&y->qkv, &y->attn_out, &y->gate_up, &y->down};
	for (size_t i = 0; i < sizeof linears / sizeof *linears; i++)
		evn_linear_free(linears[i]);
	free_norm(&y->attn_norm);
	free_norm(&y->ffn_norm);
	evn_buf_free(y->input);
	evn_buf_free(y->middle);
	if (!n->shape.recompute)
		free_activations(&y->kept);
}

void evn_network_free(evn_network *n)
{
	if (!n)
		return;
	for (uint32_t i = 0; i < n->n_layers && n->layers; i++)
		free_layer(n, &n->layers[i]);
	free(n->layers);
	free(n->params);
	free_activations(&n->shared);
	evn_param_free(&n->embedding);
	evn_param_free(&n->positions);
	free_norm(&n->out_norm);
	evn_linear_free(&n->head);
	evn_buf *const bufs[] = {
		n->rope,      n->x,       n->normed,  n->dx,           n->d_normed,      n->d_qkv,  n->d_attended,
		n->d_gate_up, n->d_gated, n->moments, n->delta,        n->sink,          n->logits, n->x_piece,
		n->d_piece,   n->stats,   n->losses,  n->ids,          n->targets,       n->starts, n->order,
		n->message,   n->squares, n->total,   n->products.low, n->products.d_low};
	for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++)
		evn_buf_free(bufs[i]);
	evn_backward_free(n->backward);
	evn_ops_free(n->products.ops);
	evn_graph_free(n->graph);
	evn_product_times_clear(&n->times);
	free(n);
}
