/* sum.c - the kernels that add partial results and normalise the sum. */
#include "group/ways.h"

void evn_arg_partials(evn_args *a, const evn_group *g, uint32_t rank, const evn_sum *s)
{
	const evn_member *m = &g->ranks[rank];
	evn_buf *partials[EVN_MAX_RANKS];
	uint32_t n = 0;
	for (uint32_t i = 0; i < EVN_MAX_RANKS; i++)
		partials[i] = m->partials[m->turn][rank];
	for (uint32_t i = 0; i < g->n_ranks; i++)
		if (s->contributors >> i & 1)
			partials[n++] = m->partials[m->turn][i];
	evn_arg_buf(a, s->x);
	evn_arg_u32(a, n);
	for (uint32_t i = 0; i < EVN_MAX_RANKS; i++)
		evn_arg_buf(a, partials[i]);
}

static uint32_t items_of(const evn_member *m) { return evn_device_row_items(evn_queue_device(m->queue)); }

static evn_status add_norm(evn_group *g, uint32_t rank, const evn_sum *s, evn_error *err)
{
	evn_member *m = &g->ranks[rank];
	evn_kernel **k = &m->add_norm[s->then->kind][s->then->form];
	if (!*k)
		EVN_TRY(evn_norm_kernel_get(k, m->queue, s->then->kind, s->then->form, "reduce.cl", "add_norm", items_of(m),
									err));
	evn_args a = evn_args_begin(*k);
	evn_arg_partials(&a, g, rank, s);
	evn_arg_norm(&a, s->then, s->stride);
	return evn_launch(&a, 1, (size_t[]){s->n_tok}, (size_t[]){items_of(m)}, err);
}

evn_status evn_enqueue_norm(evn_group *g, uint32_t rank, const evn_sum *s, evn_error *err)
{
	evn_member *m = &g->ranks[rank];
	if (!s->then)
		return EVN_OK;
	evn_kernel **k = &m->norm[s->then->kind][s->then->form];
	if (!*k)
		EVN_TRY(evn_norm_kernel_get(k, m->queue, s->then->kind, s->then->form, "norm_rows.cl", "norm_rows",
									items_of(m), err));
	return evn_norm_launch(*k, items_of(m), s->then, s->x, 0, s->n_tok, s->stride, err);
}

evn_status evn_enqueue_sum(evn_group *g, uint32_t rank, const evn_sum *s, evn_error *err)
{
	if (s->then)
		return add_norm(g, rank, s, err);
	evn_member *m = &g->ranks[rank];
	if (!m->add)
		EVN_TRY(
			evn_norm_kernel_get(&m->add, m->queue, EVN_NORM_NONE, EVN_FORM_F32, "reduce.cl", "add_partials", 1, err));
	evn_args a = evn_args_begin(m->add);
	evn_arg_partials(&a, g, rank, s);
	return evn_launch(&a, 1, (size_t[]){(size_t)s->n_tok * s->stride / 16}, (size_t[]){1}, err);
}
