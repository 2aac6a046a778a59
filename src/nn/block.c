/* block.c - one block on one rank: attention, or a feed-forward network. */
#include "nn/block.h"

#include "nn/experts.h"
#include "nn/ops_delta.h"
#include "nn/ops_fused.h"
#include "nn/ops_latent.h"
#include "nn/rope.h"

evn_kept evn_block_kept(const evn_walker *w, uint32_t block, const evn_micro_batch *mb)
{
	const evn_inner_rows *of = &w->workspace->of[w->workspace->graph->blocks[block].kind];
	return w->tape ? w->tape->blocks[block] : (evn_kept){.normed = mb->normed, .in = of->in, .mid = of->mid};
}

static evn_attention attention_of(const evn_walker *w, uint32_t block, const evn_micro_batch *mb)
{
	const evn_workspace *s = w->workspace;
	const evn_block *b = &s->graph->blocks[block];
	const evn_shard_block *held = &w->view->shard->blocks[block];
	const evn_block_view *y = evn_view_block(w->view, block, mb->rows.phase);
	const evn_cache_part *cached = &w->cache->parts[b->attention.shares ? b->attention.keys_of : block];
	return (evn_attention){.shares = b->attention.shares,
						   .n_heads = evn_range_len(y->units),
						   .n_kv = y->n_groups,
						   .skip = y->skip,
						   .n_kv_held = evn_range_len(held->groups),
						   .first_held = y->first_held,
						   .qkv = s->of[b->kind].in,
						   .qkv_stride = s->of[b->kind].in_stride,
						   .k_offset = y->offsets[1],
						   .v_offset = y->offsets[2],
						   .rope = b->attention.rotates ? s->ropes[b->attention.rope] : s->still,
						   .rope_stride =
							   b->attention.rotates ? evn_rope_stride(&s->graph->ropes[b->attention.rope]) : 0,
						   .norms = held->head_norms,
						   .norm_eps = s->graph->h->norm_eps,
						   .scale = b->attention.scale,
						   .window = b->attention.window,
						   .soft_cap = b->attention.soft_cap,
						   .k_cache = cached->k,
						   .v_cache = cached->v};
}

evn_sequences evn_walk_sequences(const evn_walker *w, uint32_t block, const evn_micro_batch *mb)
{
	const evn_block *b = &w->workspace->graph->blocks[block];
	const evn_inner_rows *of = &w->workspace->of[b->kind];
	const evn_block_view *y = evn_view_block(w->view, block, mb->rows.phase);
	return (evn_sequences){.n_heads = evn_range_len(y->units),
						   .n_kv = y->n_groups,
						   .first_head = y->units.begin,
						   .first_kv = y->units.begin / b->group,
						   .group = b->group,
						   .n_ctx = mb->rows.spans[0].n_rows,
						   .n_sequences = mb->rows.n_spans,
						   .k_offset = y->offsets[1],
						   .v_offset = y->offsets[2],
						   .stride = of->in_stride,
						   .out_stride = of->mid_stride,
						   .out_offset = y->out.x_shift,
						   .scale = b->attention.scale};
}

/* Attention over whole sequences, without a cache. */
static evn_status attend_whole(const evn_walker *w, uint32_t block, const evn_micro_batch *mb, evn_error *err)
{
	const evn_block *b = &w->workspace->graph->blocks[block];
	const evn_kept *r = &w->tape->blocks[block];
	const evn_sequences s = evn_walk_sequences(w, block, mb);
	evn_attention_ops *kernels = evn_workspace_attention(w->workspace, b);
	if (b->attention.rotates)
		EVN_TRY(evn_op_rotate(kernels, r->in, &s, w->workspace->ropes[b->attention.rope], false, err));
	return evn_op_attention_sequences(kernels, r->mid, r->lse, r->in, &s, err);
}

/* Adds the squares of all ranks' heads. Ranks without heads take part. */
static evn_status sum_squares(const evn_walker *w, uint32_t block, const evn_micro_batch *mb, evn_error *err)
{
	const evn_sum sum = {.x = w->workspace->squares,
						 .n_rows = mb->rows.n_rows,
						 .stride = EVN_HEAD_SUMS,
						 .ranks = evn_view_block(w->view, block, mb->rows.phase)->ranks,
						 .stream = mb->stream,
						 .kept = 1,
						 .scale = 1,
						 .block = block};
	EVN_TRY(evn_fill_zero(w->workspace->q, sum.x, err));
	return evn_comm_all_reduce(w->comm, w->view->rank, &sum, err);
}

/* Norms queries and keys over the heads of all ranks. */
static evn_status norm_heads(const evn_walker *w, uint32_t block, const evn_micro_batch *mb, evn_error *err)
{
	const evn_workspace *s = w->workspace;
	const evn_block *b = &s->graph->blocks[block];
	const evn_shard_block *held = &w->view->shard->blocks[block];
	const evn_block_view *y = evn_view_block(w->view, block, mb->rows.phase);
	const uint32_t dim = b->attention.head_dim;
	const evn_head_norms n = {.qkv = s->of[b->kind].in,
							  .stride = s->of[b->kind].in_stride,
							  .q_width = evn_range_len(y->units) * dim,
							  .k_offset = y->offsets[1],
							  .k_width = y->n_groups * dim,
							  .k_of_others = y->skip ? dim : 0,
							  .weights = held->head_norms,
							  .first_q = (y->units.begin - held->units.begin) * dim,
							  .first_k = (evn_range_len(held->units) + y->first_held) * dim,
							  .all_q = b->n_units * dim,
							  .all_k = b->n_units / b->group * dim,
							  .eps = s->graph->h->norm_eps};
	evn_buf *partial = evn_comm_partial(w->comm, w->view->rank, mb->stream);
	EVN_TRY(evn_op_head_squares(s->ops, &n, partial, mb->rows.n_rows, err));
	EVN_TRY(sum_squares(w, block, mb, err));
	return evn_op_head_norms(s->ops, &n, s->squares, mb->rows.n_rows, err);
}

/* Outputs of heads that are changed before they are stored: the buffer for their f32 rows. */
static evn_buf *unstored_rows(const evn_workspace *s, evn_act_format format, evn_buf *mid)
{
	return format == EVN_ACT_F32 ? mid : s->unstored;
}

static evn_status store_rows(const evn_workspace *s, evn_act_format format, evn_buf *mid, uint32_t stride,
							 uint32_t n_rows, evn_error *err)
{
	return format == EVN_ACT_F32 ? EVN_OK : evn_op_store(s->ops, format, mid, s->unstored, stride, n_rows, err);
}

/* Attention whose heads have gates. */
static evn_status attend_gated(const evn_walker *w, uint32_t block, const evn_micro_batch *mb, evn_error *err)
{
	const evn_workspace *s = w->workspace;
	const evn_block *b = &s->graph->blocks[block];
	const evn_inner_rows *of = &s->of[b->kind];
	const evn_block_view *y = evn_view_block(w->view, block, mb->rows.phase);
	const evn_act_format format = evn_op_act_format(s->ops, &y->out, mb->rows.phase);
	const uint32_t n = mb->rows.n_rows;
	const evn_gated_heads heads = {evn_range_len(y->units), b->unit_width, s->gates};
	const evn_attention a = attention_of(w, block, mb);
	evn_buf *out = unstored_rows(s, format, of->mid);
	EVN_TRY(evn_op_split_gates(s->ops, &heads, of->in, of->in_stride, n, err));
	EVN_TRY(evn_op_attention(evn_workspace_attention(s, b), EVN_ACT_F32, out, of->mid_stride, y->out.x_shift, &a,
							 &mb->rows, err));
	EVN_TRY(evn_op_apply_gates(s->ops, &heads, out, of->mid_stride, y->out.x_shift, n, err));
	return store_rows(s, format, of->mid, of->mid_stride, n, err);
}

evn_status evn_block_remember(const evn_walker *w, uint32_t block, const evn_micro_batch *mb, evn_error *err)
{
	const evn_workspace *s = w->workspace;
	const evn_block *b = &s->graph->blocks[block];
	const evn_inner_rows *of = &s->of[b->kind];
	const evn_block_view *y = evn_view_block(w->view, block, mb->rows.phase);
	const evn_attention a = attention_of(w, block, mb);
	EVN_TRY(evn_op_linear(s->ops, of->in, of->in_stride, mb->normed, s->dim_stride, &y->memory,
						  (evn_rows){mb->rows.n_rows, mb->rows.phase}, err));
	return evn_op_append(evn_workspace_attention(s, b), &a, &mb->rows, err);
}

/* The queries: heads of plain and rotated entries. */
static evn_status latent_queries(const evn_walker *w, uint32_t block, const evn_micro_batch *mb, evn_columns_of *out,
								 evn_error *err)
{
	const evn_workspace *s = w->workspace;
	const evn_block *b = &s->graph->blocks[block];
	const evn_block_view *y = evn_view_block(w->view, block, mb->rows.phase);
	const evn_rows rows = {mb->rows.n_rows, mb->rows.phase};
	const evn_latent_norm norm = {w->view->shard->blocks[block].latent.query_norm, b->attention.latent.query,
								  s->graph->h->norm_eps};
	*out = (evn_columns_of){s->of[b->kind].in, s->of[b->kind].in_stride, y->offsets[0]};
	if (!norm.n)
		return EVN_OK;
	EVN_TRY(evn_op_norm_latent(s->ops, s->query_latent, s->query_latent_stride, out, &norm, rows.n, err));
	EVN_TRY(evn_op_store(s->ops, evn_op_act_format(s->ops, &y->query_b, rows.phase), s->query_stored, s->query_latent,
						 s->query_latent_stride, rows.n, err));
	*out = (evn_columns_of){s->query_heads, s->query_heads_stride, 0};
	return evn_op_linear(s->ops, s->query_heads, s->query_heads_stride, s->query_stored, s->query_latent_stride,
						 &y->query_b, rows, err);
}

/* Attention over a latent vector. Values are the key, of which only the latent entries are used. */
static evn_status attend_latent(const evn_walker *w, uint32_t block, const evn_micro_batch *mb, evn_error *err)
{
	const evn_workspace *s = w->workspace;
	const evn_block *b = &s->graph->blocks[block];
	const evn_inner_rows *of = &s->of[b->kind];
	const evn_shard_block *held = &w->view->shard->blocks[block];
	const evn_block_view *y = evn_view_block(w->view, block, mb->rows.phase);
	const evn_latent_spec *l = &b->attention.latent;
	const evn_act_format format = evn_op_act_format(s->ops, &y->out, mb->rows.phase);
	const uint32_t n = mb->rows.n_rows, n_heads = evn_range_len(y->units);
	const evn_latent_heads heads = {l->rotated, l->latent, l->plain,
									l->value,   n_heads,   y->units.begin - held->units.begin};
	const evn_columns_of kv = {of->in, of->in_stride, y->offsets[1]};
	const evn_latent_norm norm = {held->latent.norm, l->latent, s->graph->h->norm_eps};
	evn_buf *out = unstored_rows(s, format, of->mid);
	evn_columns_of q;
	evn_attention a = attention_of(w, block, mb);
	EVN_TRY(latent_queries(w, block, mb, &q, err));
	EVN_TRY(evn_op_latent_rows(s->ops, s->latent_rows, s->latent_stride, &heads, &q, &kv, held->latent.k_b, &norm, n,
							   err));
	a.qkv = s->latent_rows;
	a.qkv_stride = s->latent_stride;
	a.k_offset = a.v_offset = n_heads * b->attention.head_dim;
	EVN_TRY(evn_op_attention(evn_workspace_attention(s, b), EVN_ACT_F32, s->latent_out, s->latent_stride, 0, &a,
							 &mb->rows, err));
	EVN_TRY(evn_op_latent_values(s->ops, out, of->mid_stride, y->out.x_shift, &heads, s->latent_out, s->latent_stride,
								 held->latent.v_b, n, err));
	return store_rows(s, format, of->mid, of->mid_stride, n, err);
}

static evn_status attend(const evn_walker *w, uint32_t block, const evn_micro_batch *mb, evn_error *err)
{
	evn_workspace *s = w->workspace;
	const evn_block *b = &s->graph->blocks[block];
	const evn_inner_rows *of = &s->of[b->kind];
	const evn_block_view *y = evn_view_block(w->view, block, mb->rows.phase);
	const evn_kept r = evn_block_kept(w, block, mb);
	const evn_rows rows = {mb->rows.n_rows, mb->rows.phase};
	EVN_TRY(evn_op_linear(s->ops, r.in, of->in_stride, r.normed, s->dim_stride, &y->in, rows, err));
	if (b->attention.qk_norm_all)
		EVN_TRY(norm_heads(w, block, mb, err));
	if (w->tape)
		return attend_whole(w, block, mb, err);
	if (b->attention.gated)
		return attend_gated(w, block, mb, err);
	if (b->attention.latent.latent)
		return attend_latent(w, block, mb, err);
	const evn_attention a = attention_of(w, block, mb);
	return evn_op_attention(evn_workspace_attention(s, b), evn_op_act_format(s->ops, &y->out, rows.phase), r.mid,
							of->mid_stride, y->out.x_shift, &a, b->attention.crosses ? &mb->memory : &mb->rows, err);
}

static evn_status attend_fused(const evn_walker *w, uint32_t block, const evn_micro_batch *mb, const evn_fused *f,
							   evn_error *err)
{
	const evn_block *b = &w->workspace->graph->blocks[block];
	const evn_inner_rows *of = &w->workspace->of[b->kind];
	const evn_attention a = attention_of(w, block, mb);
	return evn_op_attention_block(w->workspace->ops, evn_workspace_attention(w->workspace, b), f, &a, &mb->rows,
								  of->mid, of->mid_stride, err);
}

static evn_delta delta_of(const evn_walker *w, uint32_t block, const evn_micro_batch *mb)
{
	const evn_workspace *s = w->workspace;
	const evn_block *b = &s->graph->blocks[block];
	const evn_shard_block *held = &w->view->shard->blocks[block];
	const evn_block_view *y = evn_view_block(w->view, block, mb->rows.phase);
	return (evn_delta){.state = b->delta.state,
					   .taps = b->delta.taps,
					   .n_heads = evn_range_len(y->units),
					   .first_head = y->units.begin,
					   .n_keys = y->n_groups,
					   .first_key = evn_groups_of(b, y->units).begin,
					   .all_keys = b->delta.n_keys,
					   .rows = s->of[b->kind].in,
					   .stride = s->of[b->kind].in_stride,
					   .v_offset = y->offsets[2],
					   .z_offset = y->offsets[3],
					   .rates = s->alpha_beta,
					   .conv = held->delta.conv,
					   .decay = held->delta.decay,
					   .norm = held->delta.norm,
					   .eps = s->graph->h->norm_eps,
					   .states = w->cache->parts[block].k,
					   .inputs = w->cache->parts[block].v};
}

/* A gated DeltaNet. What it has of its heads is for all heads that the rank holds: it computes all of them. */
static evn_status delta_net(const evn_walker *w, uint32_t block, const evn_micro_batch *mb, evn_error *err)
{
	const evn_workspace *s = w->workspace;
	const evn_block *b = &s->graph->blocks[block];
	const evn_inner_rows *of = &s->of[b->kind];
	const evn_block_view *y = evn_view_block(w->view, block, mb->rows.phase);
	const evn_rows rows = {mb->rows.n_rows, mb->rows.phase};
	const evn_act_format format = evn_op_act_format(s->ops, &y->out, rows.phase);
	const evn_router router = evn_block_router(s, &w->view->shard->blocks[block]);
	const evn_delta d = delta_of(w, block, mb);
	EVN_TRY(evn_op_linear(s->ops, of->in, of->in_stride, mb->normed, s->dim_stride, &y->in, rows, err));
	EVN_TRY(evn_op_rates(s->ops, s->alpha_beta, 2 * d.n_heads, &router, mb->x, s->dim_stride, rows.n, err));
	EVN_TRY(evn_op_delta(s->ops, &d, unstored_rows(s, format, of->mid), of->mid_stride, y->out.x_shift, &mb->runs,
						 rows.n, err));
	return store_rows(s, format, of->mid, of->mid_stride, rows.n, err);
}

static evn_status feed_forward(const evn_walker *w, uint32_t block, const evn_micro_batch *mb, evn_error *err)
{
	evn_workspace *s = w->workspace;
	const evn_block *b = &s->graph->blocks[block];
	const evn_inner_rows *of = &s->of[b->kind];
	const evn_block_view *y = evn_view_block(w->view, block, mb->rows.phase);
	const evn_kept r = evn_block_kept(w, block, mb);
	const evn_rows rows = {mb->rows.n_rows, mb->rows.phase};
	const evn_act_format format = evn_op_act_format(s->ops, &y->out, rows.phase);
	if (b->feed_forward.gated)
		return evn_op_gate_up(s->ops, format, r.mid, of->mid_stride, r.normed, s->dim_stride, &y->in, y->offsets[1],
							  r.in, of->in_stride, rows, err);
	EVN_TRY(evn_op_linear(s->ops, r.in, of->in_stride, r.normed, s->dim_stride, &y->in, rows, err));
	if (b->feed_forward.by_layer)
		return evn_op_gate_by_layer(s->ops, format, r.mid, of->mid_stride, r.in, of->in_stride, y->in.rows,
									&mb->by_layer, evn_graph_layer_column(s->graph, b->layer) + y->units.begin,
									rows.n, err);
	return evn_op_activate(s->ops, format, r.mid, of->mid_stride, r.in, of->in_stride, y->in.rows, rows.n, err);
}

static evn_status feed_forward_fused(const evn_walker *w, uint32_t block, const evn_micro_batch *mb,
									 const evn_fused *f, evn_error *err)
{
	const evn_inner_rows *of = &w->workspace->of[w->workspace->graph->blocks[block].kind];
	const evn_block_view *y = evn_view_block(w->view, block, mb->rows.phase);
	return evn_op_feed_forward_block(w->workspace->ops, f, y->offsets[1], of->mid, of->mid_stride, err);
}

static const struct {
	/* Computes the input of W_out from the rows after the norm. */
	evn_status (*inner)(const evn_walker *w, uint32_t block, const evn_micro_batch *mb, evn_error *err);
	/* The same with the product by W_out, if one launch can compute it. */
	evn_status (*fused)(const evn_walker *w, uint32_t block, const evn_micro_batch *mb, const evn_fused *f,
						evn_error *err);
} kinds[EVN_BLOCK_KINDS] = {[EVN_BLOCK_ATTENTION] = {attend, attend_fused},
							[EVN_BLOCK_FEED_FORWARD] = {feed_forward, feed_forward_fused},
							[EVN_BLOCK_DELTA] = {delta_net, NULL}};

static bool can_fuse(const evn_block *b)
{
	if (b->kind == EVN_BLOCK_ATTENTION)
		return !b->attention.qk_norm_all && !b->attention.gated && !b->attention.crosses && !b->attention.shares &&
			   !b->attention.latent.latent;
	return b->kind == EVN_BLOCK_FEED_FORWARD && b->feed_forward.gated && !b->joins;
}

evn_status evn_block_compute(const evn_walker *w, uint32_t block, const evn_micro_batch *mb, evn_error *err)
{
	evn_workspace *s = w->workspace;
	const evn_block *b = &s->graph->blocks[block];
	const evn_block_view *y = evn_view_block(w->view, block, mb->rows.phase);
	const evn_kept r = evn_block_kept(w, block, mb);
	const evn_rows rows = {mb->rows.n_rows, mb->rows.phase};
	if (b->kind == EVN_BLOCK_EXPERTS)
		return evn_experts_compute(w, block, mb, err);
	const evn_fused fused = {
		.y = evn_comm_partial(w->comm, w->view->rank, mb->stream), .x = r.normed, .in = &y->in, .out = &y->out};
	if (can_fuse(b) && evn_op_fuses(s->ops, &fused, rows))
		return kinds[b->kind].fused(w, block, mb, &fused, err);
	EVN_TRY(kinds[b->kind].inner(w, block, mb, err));
	if (b->joins)
		return evn_experts_add_shared(w, block, mb, err);
	evn_buf *partial =
		evn_comm_partial(w->comm, w->view->rank, mb->stream); /* another one if ranks met in the block */
	return evn_op_linear(s->ops, partial, s->dim_stride, r.mid, s->of[b->kind].mid_stride, &y->out, rows, err);
}

evn_status evn_block_inner(const evn_walker *w, uint32_t block, const evn_micro_batch *mb, evn_error *err)
{
	return kinds[w->workspace->graph->blocks[block].kind].inner(w, block, mb, err);
}

evn_status evn_block_skip(const evn_walker *w, uint32_t block, const evn_micro_batch *mb, evn_error *err)
{
	const evn_block *b = &w->workspace->graph->blocks[block];
	const bool meets = b->kind == EVN_BLOCK_ATTENTION && b->attention.qk_norm_all;
	return meets ? sum_squares(w, block, mb, err) : EVN_OK;
}
