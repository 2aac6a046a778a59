#include "nn/ops_latent.h"

#include "nn/ops_internal.h"

static evn_status kernel_of(const evn_ops *o, evn_kernel **k, const char *name, evn_error *err)
{
	const evn_spec spec = evn_spec_of("latent.cl");
	return *k ? EVN_OK : evn_kernel_get(k, o->q, &spec, name, err);
}

static void arg_columns(evn_args *a, const evn_columns_of *x)
{
	evn_arg_buf(a, x->rows);
	evn_arg_u32x2(a, (uint32_t[]){x->stride, x->first});
}

evn_status evn_op_norm_latent(evn_ops *o, evn_buf *y, uint32_t stride, const evn_columns_of *x,
							  const evn_latent_norm *norm, uint32_t n_rows, evn_error *err)
{
	EVN_TRY(kernel_of(o, &o->latent.norm, "norm_latent", err));
	evn_args a = evn_args_begin(o->latent.norm);
	evn_arg_buf(&a, y);
	evn_arg_u32(&a, stride);
	arg_columns(&a, x);
	evn_arg_u32(&a, norm->n);
	evn_arg_buf(&a, norm->w);
	evn_arg_f32(&a, norm->eps);
	return evn_launch(&a, 2, (size_t[]){stride, n_rows}, NULL, err);
}

evn_status evn_op_latent_rows(evn_ops *o, evn_buf *y, uint32_t stride, const evn_latent_heads *h,
							  const evn_columns_of *q, const evn_columns_of *kv, const evn_buf *k_b,
							  const evn_latent_norm *norm, uint32_t n_rows, evn_error *err)
{
	EVN_TRY(kernel_of(o, &o->latent.rows, "latent_rows", err));
	evn_args a = evn_args_begin(o->latent.rows);
	evn_arg_buf(&a, y);
	evn_arg_u32(&a, stride);
	evn_arg_u32x2(&a, (uint32_t[]){h->n_heads, h->first_head});
	arg_columns(&a, q);
	arg_columns(&a, kv);
	evn_arg_u32x4(&a, (uint32_t[]){h->rotated, h->latent, h->plain, h->value});
	evn_arg_buf(&a, k_b);
	evn_arg_buf(&a, norm->w);
	evn_arg_f32(&a, norm->eps);
	return evn_launch(&a, 2, (size_t[]){(h->n_heads + (size_t)1) * (h->rotated + h->latent), n_rows}, NULL, err);
}

evn_status evn_op_latent_values(evn_ops *o, evn_buf *y, uint32_t stride, uint32_t first, const evn_latent_heads *h,
								const evn_buf *x, uint32_t x_stride, const evn_buf *v_b, uint32_t n_rows,
								evn_error *err)
{
	EVN_TRY(kernel_of(o, &o->latent.values, "latent_values", err));
	evn_args a = evn_args_begin(o->latent.values);
	evn_arg_buf(&a, y);
	evn_arg_u32x2(&a, (uint32_t[]){stride, first});
	evn_arg_u32x2(&a, (uint32_t[]){h->n_heads, h->first_head});
	evn_arg_buf(&a, x);
	evn_arg_u32(&a, x_stride);
	evn_arg_u32x4(&a, (uint32_t[]){h->rotated, h->latent, h->plain, h->value});
	evn_arg_buf(&a, v_b);
	return evn_launch(&a, 2, (size_t[]){stride, n_rows}, NULL, err);
}
