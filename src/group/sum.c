/* sum.c - the kernels that add partial results and normalise the sum. */
#include "group/method.h"

evn_spec evn_spec_messages(const char *file, const evn_message_format *format)
{
	evn_spec s = evn_spec_of(file);
	evn_spec_part(&s, "MESSAGE", "message/%s.cl", format->kernel);
	return s;
}

/* x, the count of ranks and EVN_MAX_RANKS buffers: their parts of this index in rank order, the rest filled up.
 */
static void arg_parts(evn_args *a, const evn_comm *c, uint32_t rank, const evn_parts *parts, const evn_sum *s)
{
	evn_buf *const *bufs = parts->bufs[evn_buffer_of(&c->ranks[rank], s->slot)], *list[EVN_MAX_RANKS];
	uint32_t n = 0;
	for (uint32_t i = 0; i < EVN_MAX_RANKS; i++)
		list[i] = bufs[rank];
	for (uint32_t i = 0; i < c->n_ranks; i++)
		if (s->ranks >> i & 1)
			list[n++] = bufs[i];
	evn_arg_buf(a, s->x);
	evn_arg_u32(a, n);
	for (uint32_t i = 0; i < EVN_MAX_RANKS; i++)
		evn_arg_buf(a, list[i]);
}

static uint32_t items_of(const evn_member *m) { return evn_device_row_items(evn_queue_device(m->queue)); }

static evn_status add_norm(evn_comm *c, uint32_t rank, evn_parts *parts, const evn_sum *s, evn_error *err)
{
	evn_member *m = &c->ranks[rank];
	evn_kernel **k = &parts->add_norm[s->then->kind][s->then->form];
	if (!*k) {
		evn_spec spec = evn_spec_messages("add_norm.cl", parts->format);
		evn_spec_norm(&spec, s->then->kind, s->then->form, items_of(m));
		EVN_TRY(evn_kernel_get(k, m->queue, &spec, "add_norm", err));
	}
	evn_args a = evn_args_begin(*k);
	arg_parts(&a, c, rank, parts, s);
	evn_arg_norm(&a, s->then, s->stride);
	return evn_launch(&a, 1, (size_t[]){s->n_rows}, (size_t[]){items_of(m)}, err);
}

evn_status evn_enqueue_sum(evn_comm *c, uint32_t rank, evn_parts *parts, const evn_sum *s, evn_error *err)
{
	if (s->then)
		return add_norm(c, rank, parts, s, err);
	if (!parts->add) {
		const evn_spec spec = evn_spec_messages("add_partials.cl", parts->format);
		EVN_TRY(evn_kernel_get(&parts->add, c->ranks[rank].queue, &spec, "add_partials", err));
	}
	evn_args a = evn_args_begin(parts->add);
	arg_parts(&a, c, rank, parts, s);
	return evn_launch_items(&a, s->n_rows * s->stride / 16, err);
}
