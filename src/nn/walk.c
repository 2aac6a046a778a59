/* walk.c - the walk over a model's blocks. Each rank computes its own part of a block; then an all-reduce adds the
 * partial sums of all ranks. The kernel that adds also computes the next norm.
 *
 * Rows of prompts and decoded rows are separate micro-batches. A long prompt is cut into two micro-batches if
 * messages can overlap: while one waits for its all-reduce, the device computes the same block of the other. */
#include "nn/walk.h"

#include "nn/micro_batch.h"
#include "nn/ops_fused.h"

/* ---- one block: from normed rows to a partial sum -------------------------------------------------------------- */

static evn_status attend(const evn_walker *w, uint32_t block, const evn_micro_batch *mb, evn_buf *partial,
						 evn_error *err)
{
	evn_workspace *s = w->workspace;
	const evn_block *b = &s->graph->blocks[block];
	const evn_shard_block *held = &w->view->shard->blocks[block];
	const evn_block_view *y = evn_view_block(w->view, block, mb->rows.phase);
	const evn_rows rows = {mb->rows.n_rows, mb->rows.phase};
	const evn_attention a = {.n_heads = evn_range_len(y->units),
							 .n_kv = y->n_groups,
							 .skip = y->skip,
							 .n_kv_held = evn_range_len(held->groups),
							 .first_held = y->first_held,
							 .qkv = s->qkv,
							 .qkv_stride = s->qkv_stride,
							 .k_offset = y->offsets[1],
							 .v_offset = y->offsets[2],
							 .rope = b->attention.rotates ? s->rope : s->still,
							 .rope_stride = b->attention.rotates ? s->graph->h->rope_dim : 0,
							 .norms = held->head_norms,
							 .norm_eps = s->graph->h->norm_eps,
							 .scale = b->attention.scale,
							 .k_cache = w->cache->k[block],
							 .v_cache = w->cache->v[block]};
	const evn_fused fused = {.y = partial, .x = mb->normed, .in = &y->in, .out = &y->out};
	evn_attention_ops *kernels = evn_workspace_attention(s, b);
	if (evn_op_fuses(s->ops, &fused, rows))
		return evn_op_attention_block(s->ops, kernels, &fused, &a, &mb->rows, s->attended, s->attended_stride, err);
	EVN_TRY(evn_op_linear(s->ops, s->qkv, s->qkv_stride, mb->normed, s->dim_stride, &y->in, rows, err));
	EVN_TRY(evn_op_attention(kernels, evn_op_act_format(s->ops, &y->out, rows.phase), s->attended, s->attended_stride,
							 y->out.x_shift, &a, &mb->rows, err));
	return evn_op_linear(s->ops, partial, s->dim_stride, s->attended, s->attended_stride, &y->out, rows, err);
}

static evn_status feed_forward(const evn_walker *w, uint32_t block, const evn_micro_batch *mb, evn_buf *partial,
							   evn_error *err)
{
	evn_workspace *s = w->workspace;
	const evn_feed_forward_spec *of = &s->graph->blocks[block].feed_forward;
	const evn_block_view *y = evn_view_block(w->view, block, mb->rows.phase);
	const evn_rows rows = {mb->rows.n_rows, mb->rows.phase};
	const evn_act_format format = evn_op_act_format(s->ops, &y->out, rows.phase);
	const evn_fused fused = {.y = partial, .x = mb->normed, .in = &y->in, .out = &y->out};
	if (of->gated && evn_op_fuses(s->ops, &fused, rows))
		return evn_op_feed_forward_block(s->ops, &fused, y->offsets[1], s->gated, s->gated_stride, err);
	if (of->gated) {
		EVN_TRY(evn_op_gate_up(s->ops, format, s->gated, s->gated_stride, mb->normed, s->dim_stride, &y->in,
							   y->offsets[1], s->gate_up, s->gate_up_stride, rows, err));
	} else {
		EVN_TRY(evn_op_linear(s->ops, s->gate_up, s->gate_up_stride, mb->normed, s->dim_stride, &y->in, rows, err));
		EVN_TRY(evn_op_gelu(s->ops, format, s->gated, s->gated_stride, s->gate_up, s->gate_up_stride, y->in.rows,
							rows.n, err));
	}
	return evn_op_linear(s->ops, partial, s->dim_stride, s->gated, s->gated_stride, &y->out, rows, err);
}

static evn_status (*const kinds[EVN_BLOCK_KINDS])(const evn_walker *w, uint32_t block, const evn_micro_batch *mb,
												  evn_buf *partial, evn_error *err) = {
	[EVN_BLOCK_ATTENTION] = attend, [EVN_BLOCK_FEED_FORWARD] = feed_forward};

/* ---- norms and sums -------------------------------------------------------------------------------------------- */

/* The norm that block `block` reads, in the format that its product needs. After the last block it is the norm of the
 * logits. NULL if this rank has no such product. */
static const evn_norm *norm_before(const evn_walker *w, uint32_t block, const evn_micro_batch *mb, evn_norm *out)
{
	const evn_workspace *s = w->workspace;
	const evn_shard *shard = w->view->shard;
	const bool last = block == s->graph->n_blocks;
	const evn_block_view *y = last ? NULL : evn_view_block(w->view, block, mb->rows.phase);
	const evn_norm_weights *weights = last ? &shard->out_norm : &shard->blocks[block].norm;
	if (last ? !mb->out_is_all || !shard->head.n_parts : !y->in.n_parts)
		return NULL;
	*out = (evn_norm){.kind = last ? s->graph->out_norm.kind : s->graph->blocks[block].norm.kind,
					  .format = last ? evn_op_act_format(s->ops, &shard->head, EVN_DECODE)
									 : evn_op_act_format(s->ops, &y->in, mb->rows.phase),
					  .y = mb->normed,
					  .w = weights->weight,
					  .bias = weights->bias,
					  .dim = s->graph->h->dim,
					  .eps = s->graph->h->norm_eps};
	return out;
}

/* The sum after a block, with the norm that follows as its epilogue. */
static evn_sum sum_after(const evn_walker *w, uint32_t block, const evn_micro_batch *mb, evn_norm *norm)
{
	return (evn_sum){.x = mb->x,
					 .n_rows = mb->rows.n_rows,
					 .stride = w->workspace->dim_stride,
					 .ranks = evn_view_block(w->view, block, mb->rows.phase)->ranks,
					 .stream = mb->stream,
					 .overlaps = mb->overlaps,
					 .packs = mb->rows.phase == EVN_PROMPT,
					 .scale = w->workspace->graph->blocks[block].residual_scale,
					 .then = evn_norm_epilogue(norm_before(w, block + 1, mb, norm))};
}

static evn_status begin_sum(const evn_walker *w, uint32_t block, const evn_micro_batch *mb, evn_error *err)
{
	evn_norm norm;
	const evn_sum sum = sum_after(w, block, mb, &norm);
	return evn_comm_all_reduce_begin(w->comm, w->view->rank, &sum, err);
}

static evn_status end_sum(const evn_walker *w, uint32_t block, const evn_micro_batch *mb, evn_error *err)
{
	evn_norm norm;
	const evn_sum sum = sum_after(w, block, mb, &norm);
	return evn_comm_all_reduce_end(w->comm, w->view->rank, &sum, err);
}

/* After each layer a step can be cancelled. With many rows the host waits for every layer: otherwise it would have
 * enqueued all layers before anybody could cancel. With few rows this wait would cost too much. */
static evn_status pause_after(const evn_walker *w, uint32_t block, uint32_t n_rows, evn_error *err)
{
	const evn_graph *g = w->workspace->graph;
	if (block + 1 < g->n_blocks && g->blocks[block + 1].layer == g->blocks[block].layer)
		return EVN_OK;
	if (n_rows > EVN_PAD)
		EVN_TRY(evn_comm_finish(w->comm, w->view->rank, err));
	return evn_comm_check(w->comm, err);
}

/* ---- the walk -------------------------------------------------------------------------------------------------- */

static evn_status begin(const evn_walker *w, const evn_batch *batch, const evn_micro_batch *mb, evn_error *err)
{
	evn_norm of;
	const evn_norm *norm = norm_before(w, 0, mb, &of);
	const uint32_t stride = w->workspace->dim_stride;
	EVN_TRY(evn_comm_broadcast(w->comm, w->view->rank, mb->x, batch->x + (uint64_t)mb->first_row * stride,
							   (uint64_t)mb->rows.n_rows * stride, err));
	return norm ? evn_op_norm(w->workspace->ops, norm, mb->x, 0, mb->rows.n_rows, stride, err) : EVN_OK;
}

evn_status evn_walk(const evn_walker *w, const evn_batch *batch, evn_error *err)
{
	const evn_graph *g = w->workspace->graph;
	evn_micro_batch mbs[EVN_MICRO_BATCHES];
	uint32_t n;
	evn_comm_step_begin(w->comm, w->view->rank);
	EVN_TRY(evn_micro_batches_cut(w, batch, mbs, &n, err));
	for (uint32_t i = 0; i < n; i++)
		EVN_TRY(begin(w, batch, &mbs[i], err));

	for (uint32_t block = 0; block < g->n_blocks; block++) {
		for (uint32_t i = 0; i < n; i++) {
			const evn_micro_batch *mb = &mbs[i];
			if (block && mb->overlaps)
				EVN_TRY(end_sum(w, block - 1, mb, err));
			if (evn_range_len(evn_view_block(w->view, block, mb->rows.phase)->units)) {
				evn_buf *partial = evn_comm_partial(w->comm, w->view->rank, mb->stream);
				EVN_TRY(kinds[g->blocks[block].kind](w, block, mb, partial, err));
			}
			EVN_TRY(begin_sum(w, block, mb, err));
			if (!mb->overlaps)
				EVN_TRY(end_sum(w, block, mb, err));
		}
		EVN_TRY(pause_after(w, block, batch->n_rows, err));
	}

	for (uint32_t i = 0; i < n; i++) {
		if (g->n_blocks && mbs[i].overlaps)
			EVN_TRY(end_sum(w, g->n_blocks - 1, &mbs[i], err));
		EVN_TRY(evn_micro_batch_output(w, batch, &mbs[i], err));
	}
	return evn_comm_step_end(w->comm, w->view->rank, err);
}
