#include "nn/ops_layers.h"

#include "nn/ops_internal.h"

static evn_status kernel_of(const evn_ops *o, evn_kernel **k, const char *name, evn_act_format format, evn_error *err)
{
	if (*k)
		return EVN_OK;
	evn_spec spec = evn_spec_of("layer_inputs.cl");
	evn_spec_store(&spec, format);
	evn_spec_lanes(&spec, o->lanes);
	return evn_kernel_get(k, o->q, &spec, name, err);
}

evn_status evn_op_take_rows(evn_ops *o, evn_buf *x, uint32_t stride, const evn_layer_inputs *in, uint32_t column,
							uint32_t n_tok, evn_error *err)
{
	EVN_TRY(kernel_of(o, &o->layers.take, "take_rows", EVN_ACT_F32, err));
	evn_args a = evn_args_begin(o->layers.take);
	evn_arg_buf(&a, x);
	evn_arg_u32(&a, stride);
	evn_arg_buf(&a, in->rows);
	evn_arg_u32x2(&a, (uint32_t[]){in->stride, column});
	return evn_launch_columns(o, &a, stride, n_tok, err);
}

evn_status evn_op_add_rows(evn_ops *o, evn_buf *x, uint32_t stride, const evn_buf *from, uint32_t from_stride,
						   uint32_t n_tok, evn_error *err)
{
	EVN_TRY(kernel_of(o, &o->layers.add, "add_rows", EVN_ACT_F32, err));
	evn_args a = evn_args_begin(o->layers.add);
	evn_arg_buf(&a, x);
	evn_arg_u32(&a, stride);
	evn_arg_buf(&a, from);
	evn_arg_u32(&a, from_stride);
	return evn_launch_columns(o, &a, stride, n_tok, err);
}

evn_status evn_op_add_projected(evn_ops *o, const evn_layer_inputs *in, const evn_layer_projection *p, uint32_t n_tok,
								evn_error *err)
{
	EVN_TRY(kernel_of(o, &o->layers.project, "add_projected", EVN_ACT_F32, err));
	evn_args a = evn_args_begin(o->layers.project);
	evn_arg_buf(&a, in->rows);
	evn_arg_u32x2(&a, (uint32_t[]){in->stride, in->first});
	evn_arg_buf(&a, p->projected);
	evn_arg_u32(&a, p->stride);
	evn_arg_buf(&a, p->w);
	evn_arg_u32(&a, in->n);
	evn_arg_f32(&a, p->eps);
	return evn_launch(&a, 2, (size_t[]){p->n_layers, n_tok}, NULL, err);
}

evn_status evn_op_gate_by_layer(evn_ops *o, evn_act_format format, evn_buf *y, uint32_t y_stride, const evn_buf *x,
								uint32_t x_stride, uint32_t width, const evn_layer_inputs *in, uint32_t column,
								uint32_t n_tok, evn_error *err)
{
	EVN_TRY(kernel_of(o, &o->layers.gate[format], "gate_by_layer", format, err));
	evn_args a = evn_args_begin(o->layers.gate[format]);
	evn_arg_buf(&a, y);
	evn_arg_u32(&a, y_stride);
	evn_arg_buf(&a, x);
	evn_arg_u32(&a, x_stride);
	evn_arg_u32(&a, width);
	evn_arg_buf(&a, in->rows);
	evn_arg_u32x2(&a, (uint32_t[]){in->stride, column});
	return evn_launch_stores(o, &a, y_stride, n_tok, err);
}
