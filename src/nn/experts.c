#include "nn/experts.h"

static evn_routing routing_of(const evn_workspace *s, const evn_block *b, const evn_shard_block *held)
{
	const evn_experts_spec *e = &b->feed_forward.experts;
	evn_routing c = s->routing;
	c.n_experts = e->n;
	c.k = e->k;
	c.normed = e->normed;
	c.sigmoid = e->sigmoid;
	c.factor = e->factor;
	c.n_groups = e->n_groups;
	c.n_used_groups = e->n_used_groups;
	c.choice_bias = held->choice_bias;
	c.scales = held->expert_scales;
	return c;
}

evn_router evn_block_router(const evn_workspace *s, const evn_shard_block *held)
{
	return (evn_router){.w = held->router.weight,
						.bias = held->router.bias,
						.norm = held->router_scale ? held->router_scale : held->norm.weight,
						.dim = s->graph->h->dim,
						.eps = s->graph->h->norm_eps};
}

evn_status evn_experts_compute(const evn_walker *w, uint32_t block, const evn_micro_batch *mb, evn_error *err)
{
	evn_workspace *s = w->workspace;
	const evn_block *b = &s->graph->blocks[block];
	const evn_inner_rows *of = &s->of[b->kind];
	const evn_block_view *y = evn_view_block(w->view, block, mb->rows.phase);
	const evn_shard_block *held = &w->view->shard->blocks[block];
	const evn_routing c = routing_of(s, b, held);
	const evn_router router = evn_block_router(s, held);
	const evn_phase phase = mb->rows.phase;
	const uint32_t n = mb->rows.n_rows;
	const evn_buf *x = mb->normed;
	evn_expert_set set;
	EVN_TRY(evn_op_choose(s->ops, &c, &router, mb->x, s->dim_stride, n, err));
	EVN_TRY(evn_op_group(s->ops, &c, n, &set, err));
	if (set.grouped) {
		const evn_act_format format = evn_op_act_format(s->ops, &y->in, phase);
		EVN_TRY(evn_op_gather(s->ops, &c, format, s->gathered, x, s->dim_stride, n, err));
		x = s->gathered;
	}
	EVN_TRY(evn_op_experts(s->ops, of->in, of->in_stride, x, s->dim_stride, set.grouped ? 1 : c.k, &y->in, &set,
						   phase, err));
	EVN_TRY(evn_op_swiglu(s->ops, evn_op_act_format(s->ops, &y->out, phase), of->mid, of->mid_stride, of->in,
						  of->in_stride, y->offsets[1], y->offsets[1], set.n, err));
	EVN_TRY(
		evn_op_experts(s->ops, s->of_experts, s->dim_stride, of->mid, of->mid_stride, 1, &y->out, &set, phase, err));
	return evn_op_add_experts(s->ops, &c, evn_comm_partial(w->comm, w->view->rank, mb->stream), s->of_experts,
							  s->dim_stride, n, err);
}

evn_status evn_experts_add_shared(const evn_walker *w, uint32_t block, const evn_micro_batch *mb, evn_error *err)
{
	evn_workspace *s = w->workspace;
	const evn_inner_rows *of = &s->of[s->graph->blocks[block].kind];
	const evn_block_view *y = evn_view_block(w->view, block, mb->rows.phase);
	const evn_router router = evn_block_router(s, &w->view->shard->blocks[block]);
	const evn_rows rows = {mb->rows.n_rows, mb->rows.phase};
	const bool adds = evn_range_len(evn_view_block(w->view, block - 1, mb->rows.phase)->units) > 0;
	EVN_TRY(evn_op_linear(s->ops, s->of_experts, s->dim_stride, of->mid, of->mid_stride, &y->out, rows, err));
	return evn_op_add_shared(s->ops, &s->routing, &router, mb->x,
							 &(evn_shared_rows){evn_comm_partial(w->comm, w->view->rank, mb->stream), s->of_experts,
												s->dim_stride, rows.n, adds},
							 err);
}
