#include "nn/ops_delta.h"

#include "nn/ops_internal.h"

static evn_status kernel_of(evn_ops *o, const evn_delta *d, evn_kernel **k, const char *name, evn_error *err)
{
	if (*k)
		return EVN_OK;
	evn_spec spec = evn_spec_of("delta_net.cl");
	evn_spec_lanes(&spec, o->lanes);
	evn_spec_define(&spec, "STATE", d->state);
	evn_spec_define(&spec, "TAPS", d->taps);
	return evn_kernel_get(k, o->q, &spec, name, err);
}

static evn_status convolve(evn_ops *o, const evn_delta *d, const evn_runs *runs, evn_error *err)
{
	const uint32_t n_channels = d->v_offset + d->n_heads * d->state;
	EVN_TRY(kernel_of(o, d, &o->delta.conv, "delta_conv", err));
	evn_args a = evn_args_begin(o->delta.conv);
	evn_arg_buf(&a, d->rows);
	evn_arg_u32(&a, d->stride);
	evn_arg_u32(&a, n_channels);
	evn_arg_buf(&a, d->inputs);
	evn_arg_buf(&a, d->conv);
	evn_arg_buf(&a, runs->words);
	return evn_launch_columns(o, &a, n_channels, runs->n, err);
}

static evn_status make_units(evn_ops *o, const evn_delta *d, uint32_t n_rows, evn_error *err)
{
	EVN_TRY(kernel_of(o, d, &o->delta.unit, "delta_unit", err));
	evn_args a = evn_args_begin(o->delta.unit);
	evn_arg_buf(&a, d->rows);
	evn_arg_u32(&a, d->stride);
	evn_arg_u32(&a, d->n_keys);
	return evn_launch_vectors(&a, 2, (size_t[]){2 * (size_t)d->n_keys, n_rows}, err);
}

static evn_status step_states(evn_ops *o, const evn_delta *d, evn_buf *y, uint32_t y_stride, uint32_t y_offset,
							  const evn_runs *runs, evn_error *err)
{
	EVN_TRY(kernel_of(o, d, &o->delta.rule, "delta_rule", err));
	evn_args a = evn_args_begin(o->delta.rule);
	evn_arg_buf(&a, y);
	evn_arg_u32(&a, y_stride);
	evn_arg_buf(&a, d->rows);
	evn_arg_u32(&a, d->stride);
	evn_arg_u32x4(&a, (uint32_t[]){y_offset, d->n_keys * d->state, d->v_offset, 0});
	evn_arg_u32x4(&a, (uint32_t[]){d->n_heads, d->first_head, d->n_keys, d->first_key});
	evn_arg_u32(&a, d->all_keys);
	evn_arg_buf(&a, d->rates);
	evn_arg_u32(&a, (uint32_t)evn_round_up(2 * d->n_heads, EVN_TILE_ROWS));
	evn_arg_buf(&a, d->decay);
	evn_arg_buf(&a, d->states);
	evn_arg_buf(&a, runs->words);
	return evn_launch_columns(o, &a, d->n_heads * d->state, runs->n, err);
}

static evn_status gate(evn_ops *o, const evn_delta *d, evn_buf *y, uint32_t y_stride, uint32_t y_offset,
					   uint32_t n_rows, evn_error *err)
{
	EVN_TRY(kernel_of(o, d, &o->delta.gate, "delta_gate", err));
	evn_args a = evn_args_begin(o->delta.gate);
	evn_arg_buf(&a, y);
	evn_arg_u32(&a, y_stride);
	evn_arg_u32(&a, y_offset);
	evn_arg_u32(&a, d->n_heads);
	evn_arg_buf(&a, d->rows);
	evn_arg_u32(&a, d->stride);
	evn_arg_u32(&a, d->z_offset);
	evn_arg_buf(&a, d->norm);
	evn_arg_f32(&a, d->eps);
	return evn_launch_vectors(&a, 2, (size_t[]){d->n_heads + (size_t)1, n_rows}, err);
}

evn_status evn_op_delta(evn_ops *o, const evn_delta *d, evn_buf *y, uint32_t y_stride, uint32_t y_offset,
						const evn_runs *runs, uint32_t n_rows, evn_error *err)
{
	EVN_TRY(convolve(o, d, runs, err));
	EVN_TRY(make_units(o, d, n_rows, err));
	EVN_TRY(step_states(o, d, y, y_stride, y_offset, runs, err));
	return gate(o, d, y, y_stride, y_offset, n_rows, err);
}

static evn_status gates_kernel(evn_ops *o, evn_kernel **k, const char *name, evn_error *err)
{
	const evn_spec spec = evn_spec_of("head_gates.cl");
	return *k ? EVN_OK : evn_kernel_get(k, o->q, &spec, name, err);
}

evn_status evn_op_split_gates(evn_ops *o, const evn_gated_heads *h, evn_buf *rows, uint32_t stride, uint32_t n_rows,
							  evn_error *err)
{
	EVN_TRY(gates_kernel(o, &o->delta.split_gates, "split_gates", err));
	evn_args a = evn_args_begin(o->delta.split_gates);
	evn_arg_buf(&a, rows);
	evn_arg_u32(&a, stride);
	evn_arg_u32(&a, h->n);
	evn_arg_u32(&a, h->width);
	evn_arg_buf(&a, h->gates);
	return evn_launch(&a, 2, (size_t[]){h->width, n_rows}, NULL, err);
}

evn_status evn_op_apply_gates(evn_ops *o, const evn_gated_heads *h, evn_buf *y, uint32_t stride, uint32_t offset,
							  uint32_t n_rows, evn_error *err)
{
	EVN_TRY(gates_kernel(o, &o->delta.apply_gates, "apply_gates", err));
	evn_args a = evn_args_begin(o->delta.apply_gates);
	evn_arg_buf(&a, y);
	evn_arg_u32(&a, stride);
	evn_arg_u32(&a, offset);
	evn_arg_buf(&a, h->gates);
	return evn_launch(&a, 2, (size_t[]){(size_t)h->n * h->width, n_rows}, NULL, err);
}
