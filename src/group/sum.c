/* sum.c - enqueues the kernels that add messages, with the epilogue of the layer above. */
#include <stdio.h>

#include "group/method.h"

evn_status evn_sum_kernel(evn_kernel **out, evn_queue *q, const evn_message_format *f, const char *name,
						  const evn_epilogue *then, uint32_t items, evn_error *err)
{
	char file[64];
	snprintf(file, sizeof file, "%s.cl", name);
	evn_spec spec = evn_spec_of(file);
	evn_spec_part(&spec, "MESSAGE", "message/%s.cl", f->kernel);
	if (then)
		then->specify(&spec, then->arg, items);
	else
		evn_spec_lanes(&spec, evn_device_lanes(evn_queue_device(q)));
	return evn_kernel_get(out, q, &spec, name, err);
}

void evn_arg_sum(evn_args *a, evn_comm *c, uint32_t rank, const evn_sum *s)
{
	const evn_store *st = evn_store_of(c, s);
	evn_arg_buf(a, s->x);
	evn_arg_buf(a, evn_store_next(st, c, rank, s->stream)->all);
	evn_arg_u64x2(a, (uint64_t[]){evn_store_apart(st, s->stream), s->ranks});
	evn_arg_f32x2(a, (float[]){s->kept, s->scale});
}

static evn_status add_then(evn_comm *c, uint32_t rank, const evn_sum *s, evn_kernel **kernels, evn_error *err)
{
	evn_queue *q = c->members[rank].queue;
	const uint32_t items = evn_device_row_items(evn_queue_device(q));
	evn_kernel **k = &kernels[s->then.key];
	if (!*k)
		EVN_TRY(evn_sum_kernel(k, q, evn_store_of(c, s)->format, s->then.add, &s->then, items, err));
	evn_args a = evn_args_begin(*k);
	evn_arg_sum(&a, c, rank, s);
	s->then.set_args(&a, s->then.arg, s->stride);
	return evn_launch(&a, 1, (size_t[]){s->n_rows}, (size_t[]){items}, err);
}

evn_status evn_enqueue_sum(evn_comm *c, uint32_t rank, const evn_sum *s, evn_error *err)
{
	evn_member *m = &c->members[rank];
	evn_sum_kernels *kernels = evn_packs(c, s) ? &m->of_packed : &m->of_f32;
	if (s->then.add)
		return add_then(c, rank, s, kernels->then, err);
	if (!kernels->add)
		EVN_TRY(evn_sum_kernel(&kernels->add, m->queue, evn_store_of(c, s)->format, "add_partials", NULL, 1, err));
	evn_args a = evn_args_begin(kernels->add);
	evn_arg_sum(&a, c, rank, s);
	return evn_launch_items(&a, s->n_rows * s->stride / evn_device_lanes(evn_queue_device(m->queue)), err);
}
