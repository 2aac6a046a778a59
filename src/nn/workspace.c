#include "nn/workspace.h"

#include <stdlib.h>
#include <string.h>

#include "nn/rope.h"
#include "nn/top.h"

#define MOST_GROUP 256u   /* columns of W_out begin and end at those of a weight block */
#define TABLE_WORDS 1024u /* the initial size */

uint64_t evn_message_floats(const evn_hparams *h, uint32_t n_batch)
{
	return evn_round_up(h->dim, EVN_PAD) * evn_rows_room(n_batch);
}

/* ---- kernels for attention ------------------------------------------------------------------------------------- */

evn_attention_config evn_attention_config_of(const evn_graph *g, const evn_block *b, evn_kv_cache kv_cache)
{
	return (evn_attention_config){.head_dim = b->attention.head_dim,
								  .rope_dim = g->ropes[b->attention.rope].dim,
								  .group = b->group,
								  .kv_cache = kv_cache,
								  .rope_neox = b->attention.rope_neox,
								  .qk_norm = b->attention.qk_norm,
								  .v_norm = b->attention.v_norm,
								  .whole = b->attention.whole,
								  .windowed = b->attention.window > 0,
								  .soft_capped = b->attention.soft_cap > 0,
								  .sinks = b->attention.sinks,
								  .query_scales = g->ropes[b->attention.rope].query_growth > 0,
								  .biased = b->attention.bias != NULL,
								  .crosses = b->attention.crosses};
}

static bool alike(const evn_attention_config *a, const evn_attention_config *b)
{
	return a->head_dim == b->head_dim && a->rope_dim == b->rope_dim && a->group == b->group &&
		   a->kv_cache == b->kv_cache && a->rope_neox == b->rope_neox && a->qk_norm == b->qk_norm &&
		   a->v_norm == b->v_norm && a->whole == b->whole && a->windowed == b->windowed &&
		   a->soft_capped == b->soft_capped && a->sinks == b->sinks && a->query_scales == b->query_scales &&
		   a->biased == b->biased && a->crosses == b->crosses;
}

evn_attention_ops *evn_workspace_attention(const evn_workspace *w, const evn_block *b)
{
	const evn_attention_config wanted = evn_attention_config_of(w->graph, b, w->limits.kv_cache);
	for (uint32_t i = 0; i < w->n_kinds; i++)
		if (alike(evn_attention_ops_config(w->attention[i]), &wanted))
			return w->attention[i];
	return NULL;
}

static evn_status make_attention(evn_workspace *w, evn_error *err)
{
	w->attention = calloc(w->graph->n_blocks + 1u, sizeof(evn_attention_ops *)); /* + 1: a graph may have no blocks */
	if (!w->attention)
		return evn_fail_memory(err, "attention kernels", w->graph->n_blocks * sizeof(evn_attention_ops *));
	for (uint32_t i = 0; i < w->graph->n_blocks; i++) {
		const evn_block *b = &w->graph->blocks[i];
		if (b->kind != EVN_BLOCK_ATTENTION || evn_workspace_attention(w, b))
			continue;
		const evn_attention_config config = evn_attention_config_of(w->graph, b, w->limits.kv_cache);
		EVN_TRY(evn_attention_ops_create(&w->attention[w->n_kinds++], w->q, &config, err));
	}
	return EVN_OK;
}

static evn_status make_rope(evn_workspace *w, const evn_rope *rope, evn_buf **out, evn_error *err)
{
	/* The kernel needs a buffer even if nothing rotates. */
	const uint32_t n_ctx = w->limits.n_ctx;
	const uint64_t row = evn_rope_stride(rope) ? evn_rope_stride(rope) : 1, bytes = n_ctx * row * sizeof(float);
	void *table;
	EVN_TRY(evn_buf_create(out, evn_queue_device(w->q), bytes, EVN_BUF_DEVICE, "rope table", err));
	EVN_TRY(evn_map(w->q, *out, bytes, EVN_MAP_OVERWRITE, true, &table, err));
	evn_rope_table(rope, n_ctx, table);
	return evn_unmap(w->q, *out, table, err);
}

/* The table of the angle 0. It ignores the factor by which a scaling multiplies cosines and sines. */
static evn_status make_still(evn_workspace *w, evn_error *err)
{
	const uint32_t row = w->graph->h->rope.dim ? w->graph->h->rope.dim : 1;
	float *angles = calloc(row, sizeof *angles);
	if (!angles)
		return evn_fail_memory(err, "rope table", row * sizeof *angles);
	for (uint32_t i = 0; i < row / 2; i++)
		angles[i] = 1;
	evn_status s =
		evn_buf_create(&w->still, evn_queue_device(w->q), row * sizeof *angles, EVN_BUF_DEVICE, "rope table", err);
	if (s == EVN_OK)
		s = evn_write(w->q, w->still, 0, angles, row * sizeof *angles, err);
	free(angles);
	return s;
}

/* ---- rows of activations --------------------------------------------------------------------------------------- */

static void grow(uint32_t *stride, uint32_t columns)
{
	uint32_t padded = (uint32_t)evn_round_up(columns, EVN_PAD);
	if (padded > *stride)
		*stride = padded;
}

/* The strides have room for any view: its rows of W_in may be padded for each stacked matrix, and its columns of
 * W_out may begin within a step. */
static void find_strides(evn_workspace *w, const evn_shard *s)
{
	for (uint32_t i = 0; i < w->graph->n_blocks; i++) {
		const evn_shard_block *y = &s->blocks[i];
		evn_inner_rows *of = &w->of[w->graph->blocks[i].kind];
		grow(&of->in_stride, y->in.rows);
		grow(&of->mid_stride, y->out.columns);
	}
	grow(&w->logits_stride, s->head.rows);
}

evn_status evn_workspace_rows(const evn_workspace *w, evn_buf **out, uint32_t n_rows, uint32_t stride,
							  const char *what, evn_error *err)
{
	if (!stride)
		return EVN_OK;
	uint64_t bytes = (uint64_t)evn_rows_room(n_rows) * stride * sizeof(float);
	EVN_TRY(evn_buf_create(out, evn_queue_device(w->q), bytes, EVN_BUF_DEVICE, what, err));
	return evn_fill_zero(w->q, *out, err);
}

evn_status evn_row_buffers_reserve(evn_workspace *w, evn_row_buffers *r, uint64_t n_words, evn_error *err)
{
	if (n_words <= r->n_words)
		return EVN_OK;
	n_words = n_words > 2 * r->n_words ? n_words : 2 * r->n_words;
	EVN_TRY(evn_queue_finish(w->q, err)); /* kernels may still read the old buffers */
	free(r->words);
	evn_buf_free(r->table);
	r->table = NULL;
	r->n_words = 0;
	r->words = malloc(n_words * sizeof *r->words);
	if (!r->words)
		return evn_fail_memory(err, "row table", n_words * sizeof *r->words);
	EVN_TRY(evn_buf_create(&r->table, evn_queue_device(w->q), n_words * sizeof *r->words, EVN_BUF_DEVICE, "row table",
						   err));
	r->n_words = n_words;
	return EVN_OK;
}

uint32_t evn_graph_expert_rows(const evn_graph *g, uint32_t n)
{
	uint32_t most = 0;
	for (uint32_t i = 0; i < g->n_blocks; i++) {
		const evn_experts_spec *e = &g->blocks[i].feed_forward.experts;
		const uint32_t rows = g->blocks[i].kind == EVN_BLOCK_EXPERTS ? evn_expert_rows(e->n, e->k, n) : 0;
		most = rows > most ? rows : most;
	}
	return most;
}

/* Of the rows between the two matrices of a block. */
static uint32_t inner_rows(const evn_workspace *w, evn_block_kind kind)
{
	return kind == EVN_BLOCK_EXPERTS ? evn_graph_expert_rows(w->graph, w->limits.n_batch) : w->limits.n_batch;
}

/* Replaces rows by wider ones. */
static evn_status widen(const evn_workspace *w, evn_buf **rows, uint32_t n_rows, uint32_t *stride, uint32_t columns,
						evn_error *err)
{
	uint32_t wider = *stride;
	evn_buf *made = NULL;
	grow(&wider, columns);
	if (wider == *stride)
		return EVN_OK;
	const evn_status s = evn_workspace_rows(w, &made, n_rows, wider, "wider rows", err);
	if (s != EVN_OK) {
		evn_buf_free(made);
		return s;
	}
	evn_buf_free(*rows);
	*rows = made;
	*stride = wider;
	return EVN_OK;
}

evn_status evn_workspace_fit(evn_workspace *w, evn_block_kind kind, const evn_shard_block *block,
							 const evn_matrix *head, evn_error *err)
{
	evn_inner_rows *of = &w->of[kind];
	if (block) {
		const uint32_t n = inner_rows(w, kind);
		EVN_TRY(widen(w, &of->in, n, &of->in_stride, block->in.rows, err));
		EVN_TRY(widen(w, &of->mid, n, &of->mid_stride, block->out.columns, err));
	}
	const uint32_t before = w->logits_stride;
	if (head)
		EVN_TRY(widen(w, &w->logits, EVN_LOGITS_ROWS, &w->logits_stride, head->rows, err));
	if (w->logits_stride == before)
		return EVN_OK;
	free(w->host_logits); /* made again when they are needed */
	evn_buf_free(w->top);
	w->host_logits = NULL;
	w->top = NULL;
	return EVN_OK;
}

/* Buffers for the choice of experts, and for the rows that experts multiply. */
static evn_status make_experts(evn_workspace *w, evn_error *err)
{
	const uint32_t n = w->limits.n_batch, n_rows = evn_graph_expert_rows(w->graph, n);
	evn_routing *c = &w->routing;
	bool ranked = false;
	for (uint32_t i = 0; i < w->graph->n_blocks; i++) {
		const evn_experts_spec *e = &w->graph->blocks[i].feed_forward.experts;
		if (w->graph->blocks[i].kind != EVN_BLOCK_EXPERTS)
			continue;
		c->n_experts = e->n > c->n_experts ? e->n : c->n_experts;
		c->k = e->k > c->k ? e->k : c->k;
		ranked |= e->biased || e->n_groups > 1;
	}
	if (!n_rows)
		return EVN_OK;
	const uint32_t experts = (uint32_t)evn_round_up(c->n_experts, EVN_PAD);
	EVN_TRY(evn_workspace_rows(w, &c->scores, n, experts, "scores of experts", err));
	EVN_TRY(evn_workspace_rows(w, &c->ranks, n, ranked ? experts : 0, "ranks of experts", err));
	EVN_TRY(evn_workspace_rows(w, &c->experts, n, c->k, "experts of rows", err));
	EVN_TRY(evn_workspace_rows(w, &c->weights, n, c->k, "weights of experts", err));
	EVN_TRY(evn_workspace_rows(w, &c->places, n, c->k, "places of rows", err));
	EVN_TRY(evn_workspace_rows(w, &c->counts, 1, experts, "rows of experts", err));
	EVN_TRY(evn_workspace_rows(w, &c->of_blocks, n_rows / EVN_BLOCK_TOKENS, 1, "experts of blocks", err));
	EVN_TRY(evn_workspace_rows(w, &w->gathered, n_rows, w->dim_stride, "rows of experts", err));
	return evn_workspace_rows(w, &w->of_experts, n_rows, w->dim_stride, "sums of experts", err);
}

/* Rows of blocks with heads that are computed in several steps. */
static evn_status make_gated(evn_workspace *w, const evn_shard *s, evn_error *err)
{
	const uint32_t n = w->limits.n_batch;
	uint32_t unstored = 0, gates = 0, alpha_beta = 0;
	for (uint32_t i = 0; i < w->graph->n_blocks; i++) {
		const evn_block *b = &w->graph->blocks[i];
		const uint32_t heads = evn_range_len(s->blocks[i].units);
		if (b->kind == EVN_BLOCK_DELTA)
			grow(&alpha_beta, 2 * heads);
		if (b->kind == EVN_BLOCK_ATTENTION && b->attention.gated)
			grow(&gates, heads * b->unit_width);
		if (b->kind == EVN_BLOCK_DELTA || (b->kind == EVN_BLOCK_ATTENTION && b->attention.gated))
			grow(&unstored, w->of[b->kind].mid_stride);
	}
	EVN_TRY(evn_workspace_rows(w, &w->unstored, n, unstored, "outputs of heads", err));
	EVN_TRY(evn_workspace_rows(w, &w->gates, n, gates, "gates of heads", err));
	EVN_TRY(evn_workspace_rows(w, &w->alpha_beta, n, alpha_beta, "rates of states", err));
	for (uint32_t i = 0; i < EVN_MICRO_BATCHES && w->graph->has_states; i++) {
		const uint64_t words = (uint64_t)n * EVN_RUN_WORDS;
		w->rows[i].run_words = malloc(words * sizeof(uint32_t));
		if (!w->rows[i].run_words)
			return evn_fail_memory(err, "runs", words * sizeof(uint32_t));
		EVN_TRY(evn_buf_create(&w->rows[i].runs, evn_queue_device(w->q), words * sizeof(uint32_t), EVN_BUF_DEVICE,
							   "runs", err));
	}
	return EVN_OK;
}

/* Rows for the inputs of layers by the token, or for patches. */
static evn_status make_layer_inputs(evn_workspace *w, const evn_shard *s, evn_error *err)
{
	const uint32_t n = w->limits.n_batch;
	if (!w->graph->projection)
		return EVN_OK;
	grow(&w->projected_stride, s->projection.rows > w->graph->h->dim ? s->projection.rows : w->graph->h->dim);
	w->patch_stride = (uint32_t)evn_round_up(w->graph->patches.floats, EVN_PAD);
	EVN_TRY(evn_workspace_rows(w, &w->patches, n, w->patch_stride, "patches", err));
	EVN_TRY(evn_workspace_rows(w, &w->stored_patches, n, w->patch_stride, "patches", err));
	for (uint32_t i = 0; i < EVN_MICRO_BATCHES; i++)
		EVN_TRY(evn_workspace_rows(w, &w->rows[i].sent, n, evn_graph_row_floats(w->graph), "inputs of layers", err));
	return evn_workspace_rows(w, &w->projected, n, w->projected_stride, "projected inputs of layers", err);
}

static evn_status make_latent(evn_workspace *w, evn_error *err)
{
	const uint32_t n = w->limits.n_batch;
	uint32_t unstored = 0;
	for (uint32_t i = 0; i < w->graph->n_blocks; i++) {
		const evn_block *b = &w->graph->blocks[i];
		const evn_latent_spec *l = &b->attention.latent;
		if (b->kind != EVN_BLOCK_ATTENTION || !l->latent)
			continue;
		grow(&w->latent_stride, (b->n_units + 1) * b->attention.head_dim);
		grow(&w->query_latent_stride, l->query);
		grow(&w->query_heads_stride, l->query ? b->n_units * (l->plain + l->rotated) + EVN_TILE_ROWS : 0);
		grow(&unstored, b->n_units * l->value + 2 * MOST_GROUP); /* also if shares move */
	}
	if (!w->unstored)
		EVN_TRY(evn_workspace_rows(w, &w->unstored, n, unstored, "outputs of heads", err));
	EVN_TRY(evn_workspace_rows(w, &w->latent_rows, n, w->latent_stride, "latent rows", err));
	EVN_TRY(evn_workspace_rows(w, &w->latent_out, n, w->latent_stride, "latent outputs", err));
	EVN_TRY(evn_workspace_rows(w, &w->query_latent, n, w->query_latent_stride, "latent queries", err));
	EVN_TRY(evn_workspace_rows(w, &w->query_stored, n, w->query_latent_stride, "latent queries", err));
	return evn_workspace_rows(w, &w->query_heads, n, w->query_heads_stride, "queries", err);
}

static evn_status make_all_rows(evn_workspace *w, const evn_shard *s, evn_error *err)
{
	const uint32_t n = w->limits.n_batch;
	find_strides(w, s);
	for (uint32_t i = 0; i < EVN_MICRO_BATCHES; i++) {
		EVN_TRY(evn_workspace_rows(w, &w->rows[i].x, n, w->dim_stride, "residual", err));
		EVN_TRY(evn_workspace_rows(w, &w->rows[i].normed, n, w->dim_stride, "normed", err));
		EVN_TRY(evn_workspace_rows(w, &w->rows[i].aside, n, w->graph->sets_aside ? w->dim_stride : 0, "sums", err));
		EVN_TRY(evn_row_buffers_reserve(w, &w->rows[i], TABLE_WORDS, err));
	}
	for (evn_block_kind kind = 0; kind < EVN_BLOCK_KINDS; kind++) {
		evn_inner_rows *of = &w->of[kind];
		const uint32_t n_rows = inner_rows(w, kind);
		EVN_TRY(evn_workspace_rows(w, &of->in, n_rows, of->in_stride, "rows behind W_in", err));
		EVN_TRY(evn_workspace_rows(w, &of->mid, n_rows, of->mid_stride, "rows before W_out", err));
	}
	EVN_TRY(make_experts(w, err));
	EVN_TRY(make_gated(w, s, err));
	EVN_TRY(make_layer_inputs(w, s, err));
	EVN_TRY(make_latent(w, err));
	EVN_TRY(evn_workspace_rows(w, &w->picked, EVN_LOGITS_ROWS, w->dim_stride, "rows for logits", err));
	EVN_TRY(evn_workspace_rows(w, &w->logits, EVN_LOGITS_ROWS, w->logits_stride, "logits", err));
	EVN_TRY(
		evn_workspace_rows(w, &w->squares, n, w->graph->sums_inside ? EVN_HEAD_SUMS : 0, "squares of heads", err));
	w->spans = calloc(2 * (n + 1u), sizeof *w->spans);
	return w->spans ? evn_queue_finish(w->q, err) : evn_fail_memory(err, "spans", 2 * (n + 1u) * sizeof *w->spans);
}

evn_status evn_workspace_create(evn_workspace **out, evn_queue *q, const evn_shard *s, evn_limits limits,
								evn_error *err)
{
	evn_workspace *w = *out = calloc(1, sizeof *w);
	if (!w)
		return evn_fail_memory(err, "workspace", sizeof *w);
	w->q = q;
	w->graph = s->graph;
	w->limits = limits;
	/* a cap bends the logits on the host, where rounding may make neighbours equal */
	w->finds_top = evn_top_on_device(evn_queue_device(q)) && !(s->graph->logit_cap > 0);
	w->dim_stride = (uint32_t)evn_round_up(s->graph->h->dim, EVN_PAD);
	EVN_TRY(evn_ops_create(
		&w->ops, q,
		&(evn_ops_config){.dot = limits.dot, .gate = evn_graph_gate(s->graph), .activation = s->graph->activation},
		err));
	EVN_TRY(make_attention(w, err));
	for (uint32_t i = 0; i < s->graph->n_ropes; i++)
		EVN_TRY(make_rope(w, &s->graph->ropes[i], &w->ropes[i], err));
	EVN_TRY(make_still(w, err));
	return make_all_rows(w, s, err);
}

void evn_workspace_free(evn_workspace *w)
{
	if (!w)
		return;
	for (uint32_t i = 0; i < EVN_MICRO_BATCHES; i++) {
		evn_buf_free(w->rows[i].x);
		evn_buf_free(w->rows[i].normed);
		evn_buf_free(w->rows[i].aside);
		evn_buf_free(w->rows[i].sent);
		evn_buf_free(w->rows[i].table);
		free(w->rows[i].words);
		evn_buf_free(w->memories[i].table);
		free(w->memories[i].words);
		evn_buf_free(w->rows[i].runs);
		free(w->rows[i].run_words);
	}
	for (evn_block_kind kind = 0; kind < EVN_BLOCK_KINDS; kind++) {
		evn_buf_free(w->of[kind].in);
		evn_buf_free(w->of[kind].mid);
	}
	evn_buf *const buffers[] = {w->latent_rows,
								w->latent_out,
								w->query_latent,
								w->query_stored,
								w->query_heads,
								w->projected,
								w->patches,
								w->stored_patches,
								w->unstored,
								w->gates,
								w->alpha_beta,
								w->ropes[0],
								w->ropes[1],
								w->still,
								w->picked,
								w->logits,
								w->top,
								w->squares,
								w->gathered,
								w->of_experts,
								w->routing.ranks,
								w->routing.scores,
								w->routing.experts,
								w->routing.weights,
								w->routing.places,
								w->routing.counts,
								w->routing.of_blocks};
	for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
		evn_buf_free(buffers[i]);
	for (uint32_t i = 0; i < w->n_kinds; i++)
		evn_attention_ops_free(w->attention[i]);
	free(w->attention);
	free(w->spans);
	free(w->host_logits);
	evn_ops_free(w->ops);
	free(w);
}
