#include "engine/pipeline.h"

#include <stdlib.h>
#include <string.h>

#include "engine/follow.h"
#include "engine/stages.h"

enum { IN_SLOT = 0, OUT_SLOT = 2 }; /* two slots each: one piece travels while another is computed */

struct evn_pipeline {
	uint32_t own, before, after; /* nodes; own if there is none */
	bool computes;               /* this node has layers */
	uint32_t stride;             /* of rows */
	float *in[2], *out[2];       /* (n_batch, stride), reused by all steps */
	evn_span *spans;             /* of a piece */
	uint32_t *out_rows;
};

static evn_status make_rows(float **out, uint64_t floats, evn_error *err)
{
	*out = malloc(floats * sizeof **out);
	return *out ? EVN_OK : evn_fail_memory(err, "rows between nodes", floats * sizeof **out);
}

evn_status evn_pipeline_create(struct evn_pipeline **out, const evn_engine *e, evn_error *err)
{
	const evn_prepared *prepared = &e->prepared;
	const uint32_t n = prepared->limits.n_batch;
	*out = NULL;
	if (!evn_nodes_are_apart(prepared))
		return EVN_OK;
	struct evn_pipeline *p = *out = calloc(1, sizeof *p);
	if (!p)
		return evn_fail_memory(err, "pipeline", sizeof *p);
	p->own = evn_nodes_index(prepared->nodes.nodes);
	p->computes = evn_range_len(prepared->stages.blocks[p->own]) > 0;
	p->before = p->after = p->own;
	if (p->computes || p->own == 0) {
		p->before = evn_stage_before(&prepared->stages, p->own);
		p->after = evn_stage_after(&prepared->stages, p->own, evn_nodes_count(prepared->nodes.nodes));
	}
	p->stride = e->embedding.stride;
	for (uint32_t i = 0; i < 2; i++) {
		if (p->before != p->own)
			EVN_TRY(make_rows(&p->in[i], (uint64_t)n * p->stride, err));
		if (p->after != p->own)
			EVN_TRY(make_rows(&p->out[i], (uint64_t)n * p->stride, err));
	}
	p->spans = calloc(n, sizeof *p->spans);
	p->out_rows = calloc(n, sizeof *p->out_rows);
	return p->spans && p->out_rows ? EVN_OK : evn_fail_memory(err, "pipeline", n * sizeof *p->spans);
}

void evn_pipeline_free(struct evn_pipeline *p)
{
	if (!p)
		return;
	for (uint32_t i = 0; i < 2; i++) {
		free(p->in[i]);
		free(p->out[i]);
	}
	free(p->spans);
	free(p->out_rows);
	free(p);
}

/* ---- pieces ---------------------------------------------------------------------------------------------------- */

/* A sequence with a state goes on from the end of a step only, and a mean needs all rows of its span. */
uint32_t evn_pipeline_pieces(const evn_engine *e, const evn_batch *batch)
{
	if (!e->pipeline || e->prepared.graph->has_states || batch->output == EVN_OUT_POOLED)
		return 1;
	return evn_stages_pieces(&e->prepared, batch->spans[0].phase, batch->n_rows);
}

static uint32_t rows_of_piece(const evn_batch *b)
{
	const uint32_t m = b->n_pieces ? b->n_pieces : 1, n = (b->n_rows + m - 1) / m;
	return n > EVN_PAD ? (uint32_t)evn_round_up(n, EVN_PAD) : n;
}

/* Rows [begin, end) of the batch. */
static evn_batch cut_piece(const struct evn_pipeline *p, const evn_engine *e, const evn_batch *b, uint32_t begin,
						   uint32_t end)
{
	evn_batch piece = *b;
	uint32_t first_out = 0;
	piece.n_rows = end - begin;
	piece.spans = p->spans;
	piece.out_rows = p->out_rows;
	piece.n_spans = piece.n_out = 0;
	piece.x = b->x + (uint64_t)begin * p->stride;
	for (uint32_t i = 0; i < b->n_spans; i++) {
		evn_span s = b->spans[i];
		const uint32_t from = s.first_row > begin ? s.first_row : begin;
		const uint32_t to = s.first_row + s.n_rows < end ? s.first_row + s.n_rows : end;
		if (from >= to)
			continue;
		s.position += from - s.first_row;
		s.first_row = from - begin;
		s.n_rows = to - from;
		p->spans[piece.n_spans++] = s;
	}
	for (uint32_t i = 0; i < b->n_out; i++) {
		first_out += b->out_rows[i] < begin;
		if (b->out_rows[i] >= begin && b->out_rows[i] < end)
			p->out_rows[piece.n_out++] = b->out_rows[i] - begin;
	}
	const evn_hparams *h = evn_model_hparams(e->model);
	const uint64_t width = b->output == EVN_OUT_LOGITS ? h->vocab : h->dim;
	if (b->output == EVN_OUT_TOP)
		piece.top = b->top + (uint64_t)first_out * b->n_lists * b->n_top;
	else if (b->out)
		piece.out = b->out + first_out * width;
	return piece;
}

/* ---- the step -------------------------------------------------------------------------------------------------- */

static evn_status receive(const struct evn_pipeline *p, const evn_engine *e, uint32_t i, uint32_t n_rows,
						  evn_error *err)
{
	const evn_node_pass pass = {.peer = p->before, .data = p->in[i % 2], .bytes = n_rows * p->stride * sizeof(float)};
	return evn_nodes_pass_begin(e->prepared.nodes.nodes, IN_SLOT + i % 2, &pass, err);
}

static evn_status send(const struct evn_pipeline *p, const evn_engine *e, uint32_t i, uint32_t n_rows, evn_error *err)
{
	const evn_node_pass pass = {true, p->after, p->out[i % 2], n_rows * p->stride * sizeof(float)};
	return evn_nodes_pass_begin(e->prepared.nodes.nodes, OUT_SLOT + i % 2, &pass, err);
}

static uint32_t rows_left(const evn_batch *b, uint32_t begin, uint32_t most)
{
	return b->n_rows - begin < most ? b->n_rows - begin : most;
}

evn_status evn_pipeline_step(evn_engine *e, const evn_batch *batch, evn_piece_fn run, void *user, evn_error *err)
{
	const struct evn_pipeline *p = e->pipeline;
	evn_nodes *nodes = e->prepared.nodes.nodes;
	const evn_node_wait wait = evn_engine_node_wait(e);
	const bool takes = p->before != p->own, gives = p->after != p->own;
	const uint32_t most = rows_of_piece(batch);
	if (takes)
		EVN_TRY(receive(p, e, 0, rows_left(batch, 0, most), err));
	for (uint32_t i = 0, begin = 0, n; begin < batch->n_rows && (p->computes || gives); i++, begin += n) {
		n = rows_left(batch, begin, most);
		evn_batch piece = cut_piece(p, e, batch, begin, begin + n);
		if (takes)
			EVN_TRY(evn_nodes_pass_end(nodes, IN_SLOT + i % 2, &wait, err));
		if (takes && begin + n < batch->n_rows)
			EVN_TRY(receive(p, e, i + 1, rows_left(batch, begin + n, most), err));
		if (gives)
			EVN_TRY(evn_nodes_pass_end(nodes, OUT_SLOT + i % 2, &wait, err));
		piece.x = takes ? p->in[i % 2] : piece.x;
		piece.passed = p->out[i % 2];
		if (p->computes)
			EVN_TRY(run(user, &piece, err));
		else
			memcpy(piece.passed, piece.x, (uint64_t)n * p->stride * sizeof(float));
		if (gives)
			EVN_TRY(send(p, e, i, n, err));
	}
	EVN_TRY(evn_nodes_pass_end(nodes, OUT_SLOT, &wait, err));
	return evn_nodes_pass_end(nodes, OUT_SLOT + 1, &wait, err);
}
