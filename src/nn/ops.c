/* ops.c - launchers: each sets the arguments in the kernel's order and the sizes of one launch. Products are in
 * ops_product.c. */
#include "nn/ops_internal.h"

#include <stdlib.h>

#define USUAL_BLOCK_COST 0.5 /* by the instructions that GPUs need (docs/gpu.md) */

void evn_spec_gate(evn_spec *s, const evn_ops *o)
{
	static const char *const names[EVN_NONLINEARITIES] = {"silu", "gelu", "clamped"};
	if (o->config.gate != EVN_SILU) /* the default */
		evn_spec_part(s, "GATE", "gate/%s.cl", names[o->config.gate]);
}

/* The kernel `name` of a file, writing this format. It is built when it is first used. */
static evn_status row_kernel(evn_ops *o, evn_kernel **at, const char *file, const char *name, evn_act_format format,
							 evn_kernel **out, evn_error *err)
{
	static const char *const options[] = {[EVN_BY_TANH] = "", [EVN_BY_ERF] = "-DEXACT", [EVN_RELU] = "-DRELU"};
	if (!at[format]) {
		evn_spec spec = evn_spec_of(file);
		evn_spec_store(&spec, format);
		evn_spec_lanes(&spec, o->lanes);
		if (at == o->swiglu)
			evn_spec_gate(&spec, o);
		if (at == o->activate)
			evn_spec_option(&spec, options[o->config.activation]);
		EVN_TRY(evn_kernel_get(&at[format], o->q, &spec, name, err));
	}
	*out = at[format];
	return EVN_OK;
}

evn_status evn_ops_create(evn_ops **out, evn_queue *q, const evn_ops_config *config, evn_error *err)
{
	evn_ops *o = *out = calloc(1, sizeof *o);
	if (!o)
		return evn_fail_memory(err, "kernels", sizeof *o);
	*o = (evn_ops){.q = q, .config = *config, .block_cost = USUAL_BLOCK_COST};
	o->lanes = evn_device_lanes(evn_queue_device(q));
	o->items = evn_device_row_items(evn_queue_device(q));
	return EVN_OK;
}

void evn_ops_free(evn_ops *o)
{
	if (!o)
		return;
	evn_buf_free(o->scratch);
	free(o);
}

void evn_ops_set_gemm(evn_ops *o, bool prompts_by_gemm) { o->prompts_by_gemm = prompts_by_gemm; }

void evn_ops_set_block_cost(evn_ops *o, double cost)
{
	if (cost > 0)
		o->block_cost = cost;
}

void evn_ops_time(evn_ops *o, evn_product_times *times) { o->times = times; }

evn_status evn_launch_columns(const evn_ops *o, evn_args *a, uint32_t columns, uint32_t n_rows, evn_error *err)
{
	if (o->lanes > 1)
		return evn_launch2(a, columns / o->lanes, n_rows, 1, err);
	uint32_t items = EVN_LANE_ITEMS;
	while (columns % items || items > evn_kernel_max_group(a->kernel))
		items /= 2;
	return evn_launch2(a, columns / items, n_rows, items, err);
}

evn_status evn_launch_stores(const evn_ops *o, evn_args *a, uint32_t stride, uint32_t n_rows, evn_error *err)
{
	if (o->lanes > 1)
		return evn_launch2(a, stride / 32, n_rows, 1, err);
	uint32_t items = EVN_LANE_ITEMS;
	while (items > evn_kernel_max_group(a->kernel))
		items /= 2;
	return evn_launch2(a, (stride + items - 1) / items, n_rows, items, err);
}

evn_status evn_op_norm(evn_ops *o, const evn_norm *norm, const evn_buf *x, uint32_t first, uint32_t n_tok,
					   uint32_t stride, evn_error *err)
{
	evn_kernel **k = &o->norm[norm->kind][norm->format];
	if (!*k) {
		evn_spec spec = evn_spec_of("norm_rows.cl");
		evn_spec_norm(&spec, norm->kind, norm->format, o->items);
		EVN_TRY(evn_kernel_get(k, o->q, &spec, "norm_rows", err));
	}
	return evn_norm_launch(*k, o->items, norm, x, first, n_tok, stride, err);
}

/* The kernel of a sum over ranks with one message. */
evn_status evn_op_add_normed(evn_ops *o, const evn_norm *norm, evn_buf *x, const evn_buf *from, float kept,
							 float scale, uint32_t n_tok, uint32_t stride, evn_error *err)
{
	const evn_epilogue then = evn_norm_epilogue(norm);
	evn_kernel **k = &o->add_normed[norm->kind][norm->format];
	if (!*k) {
		evn_spec spec = evn_spec_of("add_norm.cl");
		evn_spec_part(&spec, "MESSAGE", "message/f32.cl");
		then.specify(&spec, norm, o->items);
		EVN_TRY(evn_kernel_get(k, o->q, &spec, "add_norm", err));
	}
	evn_args a = evn_args_begin(*k);
	evn_arg_buf(&a, x);
	evn_arg_buf(&a, from);
	evn_arg_u64x2(&a, (uint64_t[]){0, 1});
	evn_arg_f32x2(&a, (float[]){kept, scale});
	then.set_args(&a, norm, stride);
	return evn_launch(&a, 1, (size_t[]){n_tok}, (size_t[]){o->items}, err);
}

evn_status evn_op_store(evn_ops *o, evn_act_format format, evn_buf *y, const evn_buf *x, uint32_t stride,
						uint32_t n_tok, evn_error *err)
{
	return evn_op_norm(o, &(evn_norm){.kind = EVN_NORM_NONE, .format = format, .y = y}, x, 0, n_tok, stride, err);
}

evn_status evn_op_swiglu(evn_ops *o, evn_act_format format, evn_buf *y, uint32_t y_stride, const evn_buf *gu,
						 uint32_t gu_stride, uint32_t up_offset, uint32_t width, uint32_t n_tok, evn_error *err)
{
	evn_kernel *k;
	EVN_TRY(row_kernel(o, o->swiglu, "rowwise.cl", "swiglu", format, &k, err));
	evn_args a = evn_args_begin(k);
	evn_arg_buf(&a, y);
	evn_arg_u32(&a, y_stride);
	evn_arg_buf(&a, gu);
	evn_arg_u32(&a, gu_stride);
	evn_arg_u32(&a, up_offset);
	evn_arg_u32(&a, width);
	return evn_launch_stores(o, &a, y_stride, n_tok, err);
}

evn_status evn_add_bias(evn_ops *o, evn_buf *y, uint32_t stride, uint32_t y_offset, const evn_buf *b,
						uint32_t b_offset, uint32_t width, uint32_t n_tok, evn_error *err)
{
	if (!o->add_bias) {
		evn_spec rows = evn_spec_of("rowwise.cl");
		evn_spec_store(&rows, EVN_ACT_F32); /* the same spec as in evn_op_swiglu, so that both are one program */
		evn_spec_lanes(&rows, o->lanes);
		evn_spec_gate(&rows, o);
		EVN_TRY(evn_kernel_get(&o->add_bias, o->q, &rows, "add_bias", err));
	}
	evn_args a = evn_args_begin(o->add_bias);
	evn_arg_buf(&a, y);
	evn_arg_u32(&a, stride);
	evn_arg_u32(&a, y_offset);
	evn_arg_buf(&a, b);
	evn_arg_u32(&a, b_offset);
	return evn_launch_columns(o, &a, width, n_tok, err);
}

evn_status evn_op_add_bias(evn_ops *o, evn_buf *y, uint32_t stride, const evn_buf *b, uint32_t width, uint32_t n_tok,
						   evn_error *err)
{
	return evn_add_bias(o, y, stride, 0, b, 0, width, n_tok, err);
}

evn_status evn_op_activate(evn_ops *o, evn_act_format format, evn_buf *y, uint32_t y_stride, const evn_buf *x,
						   uint32_t x_stride, uint32_t width, uint32_t n_tok, evn_error *err)
{
	evn_kernel *k;
	EVN_TRY(row_kernel(o, o->activate, "activate.cl", "activate", format, &k, err));
	evn_args a = evn_args_begin(k);
	evn_arg_buf(&a, y);
	evn_arg_u32(&a, y_stride);
	evn_arg_buf(&a, x);
	evn_arg_u32(&a, x_stride);
	evn_arg_u32(&a, width);
	return evn_launch_stores(o, &a, y_stride, n_tok, err);
}

evn_status evn_op_dropout(evn_ops *o, evn_buf *y, const evn_buf *x, uint64_t n, const evn_dropout *d, float scale,
						  evn_error *err)
{
	const evn_spec spec = evn_spec_of("dropout.cl");
	if (!o->dropout)
		EVN_TRY(evn_kernel_get(&o->dropout, o->q, &spec, "dropout", err));
	evn_args a = evn_args_begin(o->dropout);
	evn_arg_buf(&a, y);
	evn_arg_buf(&a, x);
	evn_arg_u32(&a, (uint32_t)((double)d->fraction * 0x1p32));
	evn_arg_f32(&a, scale / (1 - d->fraction));
	evn_arg_u32(&a, (uint32_t)d->key);
	evn_arg_u32(&a, (uint32_t)(d->key >> 32));
	return evn_launch_items(&a, (uint32_t)(n / 16), err);
}
