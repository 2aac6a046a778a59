/* check.c - whether a model can be trained, and how much memory that needs. Both are known before devices are opened.
 */
#include "nn/embed.h"
#include "train/network.h"
#include "train/tokens.h"

#define LOGITS_BYTES ((uint64_t)32 << 20) /* the logits of the whole vocabulary, for as many tokens as fit */

static uint32_t padded(uint32_t n) { return (uint32_t)evn_round_up(n, EVN_PAD); }

/* What the backward walk cannot do in a block; NULL: nothing. */
static const char *unknown(const evn_graph *g, const evn_block *b)
{
	const evn_block *first = &g->blocks[g->class_first[b->cut_class]];
	if (b->norm.kind == EVN_NORM_NONE)
		return "blocks without norms";
	if (g->n_encoder)
		return "an encoder beside the decoder, and biases of distances,";
	if (g->encodes)
		return "queries that see later tokens";
	if (b->post)
		return "norms of sums";
	if (b->kind == EVN_BLOCK_DELTA)
		return "layers with states";
	if (b->kept != 1)
		return "scales of layers";
	if (b->kind == EVN_BLOCK_EXPERTS)
		return "experts";
	if (b->kind == EVN_BLOCK_FEED_FORWARD)
		return b->feed_forward.gated == (b->feed_forward.act == EVN_SILU) ? NULL : "its nonlinearity";
	if (b->attention.qk_norm || b->attention.qk_norm_all)
		return "head norms";
	if (g->ropes[b->attention.rope].query_growth > 0)
		return "queries that grow with their position";
	if (b->attention.gated)
		return "gates of heads";
	if (b->attention.latent.latent)
		return "latent vectors of heads";
	if (b->attention.shares)
		return "keys and values that layers share";
	if (b->attention.sinks)
		return "sinks of heads";
	if (b->attention.window || b->attention.soft_cap > 0)
		return "windows and caps of scores";
	return b->attention.head_dim == first->attention.head_dim && b->attention.rope_neox == first->attention.rope_neox
			   ? NULL
			   : "heads of several kinds";
}

static evn_status check_model(const evn_graph *g, evn_error *err)
{
	const char *name = evn_gguf_name(evn_model_gguf(g->model));
	for (uint32_t i = 0; i < g->n_blocks; i++) {
		const evn_block *b = &g->blocks[i];
		const char *what = unknown(g, b);
		if (what)
			return evn_fail(err, EVN_ERR_UNSUPPORTED, "%s: a %.*s model cannot be trained: %s have no gradients yet",
							name, (int)g->h->arch.length, g->h->arch.text, what);
		if (b->kind == EVN_BLOCK_FEED_FORWARD && b->n_units % EVN_TILE_ROWS)
			return evn_fail(err, EVN_ERR_UNSUPPORTED, "%s: %u feed-forward units, training needs a multiple of %d",
							name, b->n_units, EVN_TILE_ROWS);
	}
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

/* The lengths of sums over ranks must also fit into 32 bits. */
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
	return check_tokens(g->h, shape, err);
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

uint32_t evn_network_loss_tokens(const evn_hparams *h, uint32_t n_tok)
{
	uint64_t fit = LOGITS_BYTES / (padded(h->vocab) * sizeof(float));
	return fit >= n_tok ? n_tok : fit ? (uint32_t)fit : 1;
}

static uint64_t longer(uint64_t a, uint64_t b) { return a > b ? a : b; }

/* The longest parameter that ranks may share: a norm, rows of KV heads, or the half of an addition that is not cut.
 */
static uint64_t shared_floats(const evn_graph *g, const evn_block *b, const evn_trained *trained)
{
	const uint32_t dim = padded(g->h->dim), rank = trained->lora_rank, low = padded(rank);
	evn_row_spec rows[EVN_MATRIX_PARTS];
	const uint32_t n = evn_block_rows(b, rows);
	uint64_t most = longer(dim, longer((uint64_t)rank * dim, (uint64_t)dim * low));
	for (uint32_t i = 0; i < n && b->group > 1; i++)
		if (rows[i].by_group)
			most = longer(most, (uint64_t)padded(rows[i].tensor_rows) * (rank ? low : dim));
	return most;
}

uint64_t evn_network_message(const evn_graph *g, const evn_trained *trained, const evn_pass_shape *shape,
							 uint32_t n_ranks)
{
	const uint32_t n_tok = evn_pass_tokens(shape);
	uint64_t most =
		longer((uint64_t)n_tok * padded(g->h->dim), evn_loss_floats(evn_network_loss_tokens(g->h, n_tok), n_ranks));
	for (uint32_t i = 0; i < g->n_blocks; i++)
		most = longer(most, shared_floats(g, &g->blocks[i], trained));
	return longer(most, padded(g->h->dim)); /* the output norm */
}

uint64_t evn_network_activation_bytes(const evn_graph *g, const evn_pass_shape *shape)
{
	uint64_t columns = 0;
	for (uint32_t i = 0; i < g->n_blocks; i++) {
		const evn_block *b = &g->blocks[i];
		evn_row_spec rows[EVN_MATRIX_PARTS];
		const uint32_t n = evn_block_rows(b, rows);
		columns += g->h->dim + (uint64_t)b->n_units * b->unit_width;
		columns += b->kind == EVN_BLOCK_ATTENTION ? b->n_units : 0;
		for (uint32_t k = 0; k < n; k++)
			columns += (uint64_t)rows[k].width * (rows[k].by_group ? b->n_units / b->group : b->n_units);
	}
	return columns * evn_pass_tokens(shape) * sizeof(float);
}
