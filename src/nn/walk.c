/* walk.c - the walk over a model's blocks. Each rank computes its own part of a block; then an all-reduce adds the
 * partial sums of all ranks. The kernel that adds also computes the next norm.
 *
 * Rows of prompts and decoded rows are separate micro-batches. A long prompt is cut into two micro-batches if
 * messages can overlap: while one waits for its all-reduce, the device computes the same block of the other. */
#include "nn/walk.h"

#include "nn/block.h"
#include "nn/tap.h"

/* A block with a tape, which keeps x and the rows computed from it, and with dropout. */
static evn_status compute_on_tape(const evn_walker *w, uint32_t block, const evn_micro_batch *mb, evn_error *err)
{
	const evn_workspace *s = w->workspace;
	const uint64_t n = (uint64_t)mb->rows.n_rows * s->dim_stride;
	const evn_dropout dropout = evn_tape_dropout(w->tape, 1 + block);
	evn_buf *partial = evn_comm_partial(w->comm, w->view->rank, mb->stream);
	EVN_TRY(evn_copy(s->q, w->tape->blocks[block].x, 0, mb->x, 0, n * sizeof(float), err));
	if (s->dim_stride > s->graph->h->dim) /* messages of other shapes may have written to the padding */
		EVN_TRY(evn_fill_zero(s->q, partial, err));
	EVN_TRY(evn_block_compute(w, block, mb, err));
	return dropout.fraction > 0 ? evn_op_dropout(s->ops, partial, partial, n, &dropout, 1, err) : EVN_OK;
}

/* ---- norms and sums -------------------------------------------------------------------------------------------- */

/* The blocks that rows go through here. */
static evn_range walk_of(const evn_walker *w, bool encodes)
{
	const evn_range all = evn_graph_walk(w->workspace->graph, encodes), here = w->view->blocks;
	return (evn_range){all.begin > here.begin ? all.begin : here.begin, all.end < here.end ? all.end : here.end};
}

/* Other nodes have the blocks that follow. */
static bool passes_on(const evn_walker *w) { return w->view->blocks.end < w->workspace->graph->n_blocks; }

/* The norm that block `block` reads, in the format that its product needs. After the last block it is the norm of the
 * logits. NULL if this rank has no such product, unless the norm takes the place of the rows. Rows of an encoder are
 * normed for each of their readers (remember). */
static const evn_norm *norm_before(const evn_walker *w, uint32_t block, const evn_micro_batch *mb, evn_norm *out)
{
	const evn_workspace *s = w->workspace;
	const evn_shard *shard = w->view->shard;
	const bool last = block == walk_of(w, mb->encodes).end;
	if (last && (mb->encodes || passes_on(w)))
		return NULL;
	const evn_block_view *y = last ? NULL : evn_view_block(w->view, block, mb->rows.phase);
	const evn_norm_weights *weights = last ? &shard->out_norm : &shard->blocks[block].norm;
	const evn_norm_kind kind = last ? s->graph->out_norm.kind : s->graph->blocks[block].norm.kind;
	if (last ? !mb->out_is_all || !w->view->head.rows : !y->in.rows && kind != EVN_NORM_REPLACE)
		return NULL;
	*out = (evn_norm){.kind = kind,
					  .format = last         ? evn_op_act_format(s->ops, &w->view->head, EVN_DECODE)
								: y->in.rows ? evn_op_act_format(s->ops, &y->in, mb->rows.phase)
											 : EVN_ACT_F32,
					  .y = last ? mb->normed : evn_block_kept(w, block, mb).normed,
					  .w = weights->weight,
					  .bias = weights->bias,
					  .dim = s->graph->h->dim,
					  .eps = s->graph->h->norm_eps};
	return out;
}

/* `next`, and the norm of the sum itself, by `post`. A sum with such a norm has an epilogue even if no norm follows.
 */
static const evn_norm *with_post(const evn_walker *w, const evn_micro_batch *mb, const evn_norm *next,
								 const evn_buf *post, evn_norm *out)
{
	if (!next)
		*out = (evn_norm){.kind = EVN_NORM_NONE,
						  .y = mb->normed,
						  .dim = w->workspace->graph->h->dim,
						  .eps = w->workspace->graph->h->norm_eps};
	out->post = post;
	return out;
}

/* The epilogue of the sum after a block: the norm that follows, unless the sum goes aside, and the norm of the sum.
 */
static const evn_norm *norms_after(const evn_walker *w, uint32_t block, const evn_micro_batch *mb, evn_norm *out)
{
	const bool aside = w->workspace->graph->blocks[block].to != EVN_TO_ROWS;
	const evn_buf *post = w->view->shard->blocks[block].post;
	const evn_norm *next = aside ? NULL : norm_before(w, block + 1, mb, out);
	return post ? with_post(w, mb, next, post, out) : next;
}

/* The sum after a block, and those that it joins, with the norms that follow. */
static evn_sum sum_after(const evn_walker *w, uint32_t block, const evn_micro_batch *mb, evn_norm *norm)
{
	const evn_block *blocks = w->workspace->graph->blocks;
	const bool aside = blocks[block].to != EVN_TO_ROWS;
	uint64_t ranks = evn_view_block(w->view, block, mb->rows.phase)->ranks;
	for (uint32_t i = block; blocks[i].joins; i--)
		ranks |= evn_view_block(w->view, i - 1, mb->rows.phase)->ranks;
	return (evn_sum){.x = aside ? mb->aside : mb->x,
					 .n_rows = mb->rows.n_rows,
					 .stride = w->workspace->dim_stride,
					 .ranks = ranks,
					 .stream = mb->stream,
					 .overlaps = mb->overlaps,
					 .packs = mb->rows.phase == EVN_PROMPT,
					 .kept = aside ? blocks[block].to == EVN_ASIDE_LAST : blocks[block].kept,
					 .scale = aside ? 1 : blocks[block].residual_scale,
					 .block = block,
					 .then = evn_norm_epilogue(norms_after(w, block, mb, norm))};
}

static evn_status begin_sum(const evn_walker *w, uint32_t block, const evn_micro_batch *mb, evn_error *err)
{
	evn_norm norm;
	const evn_sum sum = sum_after(w, block, mb, &norm);
	return evn_comm_all_reduce_begin(w->comm, w->view->rank, &sum, err);
}

static evn_status norm_rows(const evn_walker *w, uint32_t block, const evn_micro_batch *mb, const evn_buf *x,
							evn_error *err)
{
	evn_norm of;
	const evn_norm *norm = norm_before(w, block, mb, &of);
	const evn_workspace *s = w->workspace;
	return norm ? evn_op_norm(s->ops, norm, x, 0, mb->rows.n_rows, s->dim_stride, err) : EVN_OK;
}

/* What follows a sum that went aside: the norm of the same x for the next block; or, when all are there, x itself and
 * its norm. */
static evn_status after_aside(const evn_walker *w, uint32_t block, const evn_micro_batch *mb, evn_error *err)
{
	const evn_workspace *s = w->workspace;
	const evn_block *b = &s->graph->blocks[block];
	evn_norm norm;
	if (b->to == EVN_ASIDE_FIRST)
		return norm_rows(w, block + 1, mb, mb->x, err);
	const evn_norm *norms =
		with_post(w, mb, norm_before(w, block + 1, mb, &norm), w->view->shard->blocks[block].joint, &norm);
	return evn_op_add_normed(s->ops, norms, mb->x, mb->aside, b->kept, b->residual_scale, mb->rows.n_rows,
							 s->dim_stride, err);
}

static evn_status end_sum(const evn_walker *w, uint32_t block, const evn_micro_batch *mb, evn_error *err)
{
	evn_norm norm;
	const evn_sum sum = sum_after(w, block, mb, &norm);
	EVN_TRY(evn_comm_all_reduce_end(w->comm, w->view->rank, &sum, err));
	return w->workspace->graph->blocks[block].to != EVN_TO_ROWS ? after_aside(w, block, mb, err) : EVN_OK;
}

#define FLUSH_LAYERS 4 /* some drivers hold commands back until they are flushed */

/* Waits until the layer before the last enqueued one is computed. The device thus always has a layer to compute. */
static evn_status keep_close(const evn_walker *w, evn_event **layer, evn_error *err)
{
	evn_event *here;
	EVN_TRY(evn_event_last(&here, w->workspace->q, err));
	evn_status s = evn_queue_flush(w->workspace->q, err);
	if (s == EVN_OK && *layer)
		s = evn_comm_wait(w->comm, w->view->rank, *layer, err);
	evn_event_free(*layer);
	*layer = here;
	return s;
}

/* After each layer a step can be cancelled. With many rows the host waits for the layers: otherwise it would have
 * enqueued all of them before anybody could cancel. With few rows this wait would cost too much. A step with a tape
 * is not cancelled by anybody. *layer is the end of the layer before, NULL at first. */
static evn_status pause_after(const evn_walker *w, uint32_t block, const evn_micro_batch *last, evn_event **layer,
							  evn_error *err)
{
	const evn_graph *g = w->workspace->graph;
	if (block + 1 < walk_of(w, last->encodes).end && g->blocks[block + 1].layer == g->blocks[block].layer)
		return EVN_OK;
	if (last->first_row + last->rows.n_rows > EVN_PAD && !w->tape)
		EVN_TRY(keep_close(w, layer, err));
	else if (g->blocks[block].layer % FLUSH_LAYERS == 0)
		EVN_TRY(evn_queue_flush(w->workspace->q, err));
	return evn_comm_check(w->comm, err);
}

/* ---- the walk -------------------------------------------------------------------------------------------------- */

/* Computes blocks that have one all-reduce. The norm before the first one was computed with the last sum; the others
 * may need its rows in another format. */
static evn_status compute_joined(const evn_walker *w, uint32_t first, uint32_t last, const evn_micro_batch *mb,
								 evn_error *err)
{
	for (uint32_t block = first; block <= last; block++) {
		if (block > first)
			EVN_TRY(norm_rows(w, block, mb, mb->x, err));
		if (!evn_range_len(evn_view_block(w->view, block, mb->rows.phase)->units)) {
			EVN_TRY(evn_block_skip(w, block, mb, err));
			continue;
		}
		EVN_TRY((w->tape ? compute_on_tape : evn_block_compute)(w, block, mb, err));
		if (w->tap && w->tap->block == block && mb->first_row == 0)
			EVN_TRY(evn_tap_take(w->tap, w, mb, err));
	}
	return EVN_OK;
}

static evn_status walk_blocks(const evn_walker *w, const evn_micro_batch *mbs, uint32_t n, evn_event **layer,
							  evn_error *err)
{
	const evn_graph *g = w->workspace->graph;
	const evn_range blocks = walk_of(w, mbs[0].encodes);
	for (uint32_t i = 0; i < n; i++)
		EVN_TRY(norm_rows(w, blocks.begin, &mbs[i], mbs[i].x, err));

	for (uint32_t block = blocks.begin, last; block < blocks.end; block = last + 1) {
		last = evn_graph_last_joined(g, block);
		for (uint32_t i = 0; i < n; i++) {
			const evn_micro_batch *mb = &mbs[i];
			if (block > blocks.begin && mb->overlaps)
				EVN_TRY(end_sum(w, block - 1, mb, err));
			EVN_TRY(compute_joined(w, block, last, mb, err));
			EVN_TRY(begin_sum(w, last, mb, err));
			if (!mb->overlaps)
				EVN_TRY(end_sum(w, last, mb, err));
		}
		EVN_TRY(pause_after(w, last, &mbs[n - 1], layer, err));
	}

	for (uint32_t i = 0; i < n; i++)
		if (evn_range_len(blocks) && mbs[i].overlaps)
			EVN_TRY(end_sum(w, blocks.end - 1, &mbs[i], err));
	return EVN_OK;
}

evn_status evn_walk_blocks(const evn_walker *w, const evn_micro_batch *mbs, uint32_t n, evn_error *err)
{
	evn_event *layer = NULL;
	const evn_status s = walk_blocks(w, mbs, n, &layer, err);
	evn_event_free(layer);
	return s;
}

evn_status evn_walk_again(const evn_walker *w, uint32_t block, const evn_micro_batch *mb, evn_error *err)
{
	EVN_TRY(norm_rows(w, block, mb, w->tape->blocks[block].x, err));
	return evn_block_inner(w, block, mb, err);
}

/* Each block that attends to the memory appends keys and values of the encoder's rows. */
static evn_status remember(const evn_walker *w, const evn_micro_batch *mb, evn_error *err)
{
	const evn_workspace *s = w->workspace;
	const evn_range blocks = evn_graph_walk(s->graph, false);
	for (uint32_t i = blocks.begin; i < blocks.end; i++) {
		const evn_block *b = &s->graph->blocks[i];
		const evn_block_view *y = evn_view_block(w->view, i, mb->rows.phase);
		if (b->kind != EVN_BLOCK_ATTENTION || !b->attention.crosses || !evn_range_len(y->units))
			continue;
		const evn_norm norm = {.kind = s->graph->encoder_norm.kind,
							   .format = evn_op_act_format(s->ops, &y->memory, mb->rows.phase),
							   .y = mb->normed,
							   .w = w->view->shard->encoder_norm.weight,
							   .dim = s->graph->h->dim,
							   .eps = s->graph->h->norm_eps};
		EVN_TRY(evn_op_norm(s->ops, &norm, mb->x, 0, mb->rows.n_rows, s->dim_stride, err));
		EVN_TRY(evn_block_remember(w, i, mb, err));
	}
	return EVN_OK;
}

/* Takes the rows that the host has sent apart, and adds the projection of x to the inputs of layers. */
static evn_status add_projection(const evn_walker *w, const evn_micro_batch *mb, evn_error *err)
{
	const evn_workspace *s = w->workspace;
	const evn_shard *shard = w->view->shard;
	const evn_rows rows = {mb->rows.n_rows, mb->rows.phase};
	const float dim = (float)s->graph->h->dim; /* x is divided by its root before it is projected */
	const evn_layer_projection p = {s->projected, shard->layer_norm, s->projected_stride, s->graph->h->n_layers,
									dim * s->graph->h->norm_eps};
	EVN_TRY(evn_op_take_rows(s->ops, mb->x, s->dim_stride, &mb->by_layer, 0, rows.n, err));
	EVN_TRY(evn_op_store(s->ops, evn_op_act_format(s->ops, &shard->projection, rows.phase), mb->normed, mb->x,
						 s->dim_stride, rows.n, err));
	EVN_TRY(evn_op_linear(s->ops, s->projected, s->projected_stride, mb->normed, s->dim_stride, &shard->projection,
						  rows, err));
	return evn_op_add_projected(s->ops, &mb->by_layer, &p, rows.n, err);
}

/* Adds the patches, multiplied by their matrix, to the rows of their places. */
static evn_status add_patches(const evn_walker *w, const evn_micro_batch *mb, evn_error *err)
{
	const evn_workspace *s = w->workspace;
	const evn_matrix *m = &w->view->shard->projection;
	const evn_rows rows = {mb->rows.n_rows, mb->rows.phase};
	EVN_TRY(evn_op_take_rows(s->ops, mb->x, s->dim_stride, &mb->by_layer, 0, rows.n, err));
	EVN_TRY(evn_op_take_rows(s->ops, s->patches, s->patch_stride, &mb->by_layer, mb->by_layer.first, rows.n, err));
	EVN_TRY(evn_op_store(s->ops, evn_op_act_format(s->ops, m, rows.phase), s->stored_patches, s->patches,
						 s->patch_stride, rows.n, err));
	EVN_TRY(
		evn_op_linear(s->ops, s->projected, s->projected_stride, s->stored_patches, s->patch_stride, m, rows, err));
	return evn_op_add_rows(s->ops, mb->x, s->dim_stride, s->projected, s->projected_stride, rows.n, err);
}

/* The rows of the embedding become those of the micro-batch. */
static evn_status take_input(const evn_walker *w, const evn_batch *batch, const evn_micro_batch *mb, evn_error *err)
{
	const uint64_t stride = evn_graph_row_floats(w->workspace->graph);
	EVN_TRY(evn_comm_broadcast(w->comm, w->view->rank, mb->by_layer.rows ? mb->by_layer.rows : mb->x,
							   batch->x + mb->first_row * stride, mb->rows.n_rows * stride, err));
	if (!mb->by_layer.rows)
		return EVN_OK;
	return w->workspace->graph->patches.floats ? add_patches(w, mb, err) : add_projection(w, mb, err);
}

/* The rows go to the host, for the node that has the next blocks. */
static evn_status pass_rows(const evn_walker *w, const evn_batch *batch, const evn_micro_batch *mb, evn_error *err)
{
	const uint32_t stride = w->workspace->dim_stride, n = mb->rows.n_rows * stride;
	const evn_gather all = {.from = mb->x,
							.to = batch->passed + (uint64_t)mb->first_row * stride,
							.from_stride = n,
							.to_stride = n,
							.n_rows = 1,
							.n_columns = n};
	return w->view->rank == evn_comm_first(w->comm) ? evn_comm_gather(w->comm, w->view->rank, &all, err) : EVN_OK;
}

static evn_status finish_rows(const evn_walker *w, const evn_batch *batch, const evn_micro_batch *mb, evn_error *err)
{
	if (passes_on(w))
		return pass_rows(w, batch, mb, err);
	return batch->encodes ? remember(w, mb, err) : evn_micro_batch_output(w, batch, mb, err);
}

evn_status evn_walk(const evn_walker *w, const evn_batch *batch, evn_error *err)
{
	evn_micro_batch mbs[EVN_MICRO_BATCHES];
	uint32_t n;
	evn_comm_step_begin(w->comm, w->view->rank);
	EVN_TRY(evn_micro_batches_cut(w, batch, mbs, &n, err));
	for (uint32_t i = 0; i < n; i++)
		EVN_TRY(take_input(w, batch, &mbs[i], err));
	EVN_TRY(evn_walk_blocks(w, mbs, n, err));
	for (uint32_t i = 0; i < n; i++)
		EVN_TRY(finish_rows(w, batch, &mbs[i], err));
	return evn_comm_step_end(w->comm, w->view->rank, err);
}
