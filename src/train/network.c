/* network.c - creates and frees a network. */
#include "train/network.h"

#include <stdlib.h>

static uint32_t padded(uint32_t n) { return (uint32_t)evn_round_up(n, EVN_PAD); }

static evn_status make(const evn_network *n, evn_buf **out, uint64_t floats, evn_error *err)
{
	if (!floats)
		return EVN_OK;
	EVN_TRY(evn_buf_create(out, evn_queue_device(n->q), floats * sizeof(float), EVN_BUF_DEVICE, "scratch", err));
	return evn_fill_zero(n->q, *out, err);
}

/* The length of the longest parameter, and of the longest shared piece. */
static void find_longest(const evn_network *n, uint64_t *param, uint64_t *piece)
{
	*param = 1;
	*piece = 0;
	for (uint32_t i = 0; i < n->n_params; i++) {
		const evn_param *p = n->params[i];
		if (evn_param_floats(p) > *param)
			*param = evn_param_floats(p);
		for (uint32_t k = 0; k < p->n_pieces; k++)
			if (p->pieces[k].shared && evn_piece_message(p, &p->pieces[k]) > *piece)
				*piece = evn_piece_message(p, &p->pieces[k]);
	}
}

static uint32_t most_heads(const evn_network *n)
{
	uint32_t most = 0;
	for (uint32_t i = 0; i < n->graph->n_blocks; i++) {
		const uint32_t units = evn_range_len(n->shard->blocks[i].units);
		if (n->graph->blocks[i].kind == EVN_BLOCK_ATTENTION && units > most)
			most = units;
	}
	return most;
}

static evn_status make_scratch(evn_network *n, evn_error *err)
{
	const uint64_t t = n->n_tok, stride = n->workspace->dim_stride, piece_tokens = n->loss_tokens;
	const uint32_t logits = n->workspace->logits_stride;
	uint64_t longest_param, longest_piece;
	find_longest(n, &longest_param, &longest_piece);
	const struct {
		evn_buf **buf;
		uint64_t floats;
	} wanted[] = {
		{&n->moments, 2 * t},
		{&n->delta, t * most_heads(n)},
		{&n->sink, stride},
		{&n->logits, piece_tokens * (logits ? logits : 1)},
		{&n->x_piece, piece_tokens * stride},
		{&n->d_piece, piece_tokens * stride},
		{&n->stats, evn_loss_floats(n->loss_tokens, n->n_ranks)},
		{&n->losses, t},
		{&n->ids, t},
		{&n->targets, t},
		{&n->starts, evn_range_len(n->shard->vocab) + 1u},
		{&n->order, t},
		{&n->message, longest_piece},
		{&n->squares, longest_param / EVN_SQUARES_PIECE + 1},
		{&n->total, 16},
	};
	for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
		EVN_TRY(make(n, wanted[i].buf, wanted[i].floats, err));
	return EVN_OK;
}

/* Makes the rows of one pass: all its sequences. */
static evn_status make_rows(evn_network *n, evn_error *err)
{
	evn_row_buffers *rows = n->workspace->rows;
	evn_span *spans = n->workspace->spans;
	for (uint32_t i = 0; i < n->shape.n_sequences; i++)
		spans[i] = (evn_span){.first_row = i * n->shape.n_ctx, .n_rows = n->shape.n_ctx, .phase = EVN_PROMPT};
	n->x = rows[0].x;
	n->normed = rows[0].normed;
	n->dx = rows[1].x;
	n->d_normed = rows[1].normed;
	n->rows = (evn_micro_batch){
		.rows = {.n_rows = n->n_tok, .n_spans = n->shape.n_sequences, .spans = spans, .phase = EVN_PROMPT},
		.x = n->x,
		.normed = n->normed};
	EVN_TRY(evn_tape_create(&n->tape, n->workspace, n->view, n->shape.recompute, err));
	n->walker = (evn_walker){.view = n->view, .workspace = n->workspace, .comm = n->comm, .tape = n->tape};
	return EVN_OK;
}

/* The configuration of the model's attention blocks, which all have the same heads. */
static evn_attention_config heads_of(const evn_graph *g)
{
	for (uint32_t i = 0; i < g->n_blocks; i++)
		if (g->blocks[i].kind == EVN_BLOCK_ATTENTION)
			return evn_attention_config_of(g, &g->blocks[i], EVN_KV_F32);
	return (evn_attention_config){0};
}

static evn_status load(evn_network *n, const evn_model *m, const evn_gguf *state, const evn_split *split,
					   evn_error *err)
{
	const evn_shard_part part = {.split = split, .rank = n->rank, .plain = !n->trained.lora_rank};
	const evn_limits limits = {.n_ctx = n->shape.n_ctx, .n_batch = n->n_tok};
	EVN_TRY(evn_graph_make(&n->graph, m, err));
	EVN_TRY(evn_shard_load(&n->shard, n->q, n->graph, &part, err));
	EVN_TRY(evn_view_make(&n->view, n->shard, split, n->rank, err));
	EVN_TRY(evn_workspace_create(&n->workspace, n->q, n->shard, limits, err));
	evn_ops_set_gemm(n->workspace->ops, true);
	evn_ops_time(n->workspace->ops, &n->times);
	const evn_attention_config heads = heads_of(n->graph);
	EVN_TRY(evn_backward_create(&n->backward, n->q, &heads, err));
	EVN_TRY(make(n, &n->low, (uint64_t)n->n_tok * padded(n->trained.lora_rank), err));
	EVN_TRY(make(n, &n->d_low, (uint64_t)n->n_tok * padded(n->trained.lora_rank), err));
	n->gradients = (evn_gradient_ops){n->workspace->ops, n->backward, n->d_low};
	n->blocks = calloc(n->graph->n_blocks + 1u, sizeof *n->blocks); /* + 1: a model may have no blocks */
	if (!n->blocks)
		return evn_fail_memory(err, "blocks", n->graph->n_blocks * sizeof *n->blocks);
	EVN_TRY(evn_network_make_params(n, split, state, err));
	n->loss_tokens = evn_network_loss_tokens(n->graph->h, n->n_tok);
	EVN_TRY(make_rows(n, err));
	EVN_TRY(make_scratch(n, err));
	return evn_queue_finish(n->q, err);
}

evn_status evn_network_load(evn_network **out, evn_queue *q, evn_comm *comm, const evn_model *m,
							const evn_gguf *state, const evn_split *split, uint32_t rank, const evn_trained *trained,
							const evn_pass_shape *shape, evn_error *err)
{
	evn_network *n = *out = calloc(1, sizeof *n);
	if (!n)
		return evn_fail_memory(err, "network", sizeof *n);
	n->q = q;
	n->comm = comm;
	n->trained = *trained;
	n->shape = *shape;
	n->rank = rank;
	n->n_ranks = split->n_ranks;
	n->vocab_ranks = evn_split_ranks(split, EVN_PLAN_VOCAB, 0, EVN_PROMPT);
	n->n_tok = evn_pass_tokens(shape);
	return load(n, m, state, split, err);
}

static void free_norm(evn_train_norm *norm)
{
	evn_param_free(&norm->weight);
	evn_param_free(&norm->bias);
}

void evn_network_free(evn_network *n)
{
	if (!n)
		return;
	for (uint32_t i = 0; n->blocks && i < n->graph->n_blocks; i++) {
		free_norm(&n->blocks[i].norm);
		evn_linear_free(&n->blocks[i].in);
		evn_linear_free(&n->blocks[i].out);
	}
	free(n->blocks);
	free(n->params);
	free_norm(&n->out_norm);
	evn_linear_free(&n->head);
	evn_param_free(&n->tokens);
	evn_param_free(&n->positions);
	evn_buf *const bufs[] = {n->moments, n->delta,   n->sink,  n->logits,  n->x_piece, n->d_piece,
							 n->stats,   n->losses,  n->ids,   n->targets, n->starts,  n->order,
							 n->message, n->squares, n->total, n->low,     n->d_low};
	for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++)
		evn_buf_free(bufs[i]);
	evn_tape_free(n->tape);
	evn_backward_free(n->backward);
	evn_workspace_free(n->workspace);
	evn_view_free(n->view);
	evn_shard_free(n->shard);
	evn_graph_free(n->graph);
	evn_product_times_clear(&n->times);
	free(n);
}
