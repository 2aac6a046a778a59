/* gpt2.c - GPT-2 (Radford et al. 2019): learned positions, LayerNorm, GELU, a bias on everything, q, k and v rows in
 * one tensor. */
#include "nn/gpt2.h"

#include <stdio.h>

#include "nn/decoder_rank.h"

evn_status evn_layernorm_kernel(evn_kernel **out, evn_queue *q, uint32_t items, evn_error *err)
{
	char defines[32];
	snprintf(defines, sizeof defines, "-DNORM_ITEMS=%u", items);
	return evn_kernel_get(out, q, "gpt2.cl", "layernorm", defines, err);
}

evn_status evn_gelu_kernel(evn_kernel **out, evn_queue *q, evn_error *err)
{
	return evn_kernel_get(out, q, "gpt2.cl", "gelu", "", err);
}

evn_status evn_op_layernorm(evn_kernel *k, uint32_t items, evn_buf *y, const evn_buf *x, uint32_t first,
							uint32_t n_tok, const evn_norm_weights *w, uint32_t stride, uint32_t dim, float eps,
							evn_error *err)
{
	evn_args a = evn_args_begin(k);
	evn_arg_buf(&a, y);
	evn_arg_buf(&a, x);
	evn_arg_u32(&a, first);
	evn_arg_buf(&a, w->weight);
	evn_arg_buf(&a, w->bias);
	evn_arg_u32(&a, stride);
	evn_arg_u32(&a, dim);
	evn_arg_f32(&a, eps);
	return evn_launch(&a, 1, (size_t[]){n_tok}, (size_t[]){items}, err);
}

evn_status evn_op_gelu(evn_kernel *k, evn_buf *y, uint32_t y_stride, const evn_buf *x, uint32_t x_stride,
					   uint32_t width, uint32_t n_tok, evn_error *err)
{
	evn_args a = evn_args_begin(k);
	evn_arg_buf(&a, y);
	evn_arg_u32(&a, y_stride);
	evn_arg_buf(&a, x);
	evn_arg_u32(&a, x_stride);
	evn_arg_u32(&a, width);
	return evn_launch(&a, 2, (size_t[]){y_stride / 16, n_tok}, (size_t[]){1, 1}, err);
}

static evn_status norm(evn_decoder *d, const evn_norm_weights *w, uint32_t first, uint32_t n_tok, evn_error *err)
{
	uint32_t items = evn_ops_items(d->ops);
	if (!d->norm_kernel)
		EVN_TRY(evn_layernorm_kernel(&d->norm_kernel, d->q, items, err));
	return evn_op_layernorm(d->norm_kernel, items, d->normed, d->x, first, n_tok, w, d->dim_stride, d->h->dim,
							d->h->norm_eps, err);
}

static evn_status gelu(evn_decoder *d, const evn_layer *y, uint32_t n_tok, evn_error *err)
{
	if (!d->activation_kernel)
		EVN_TRY(evn_gelu_kernel(&d->activation_kernel, d->q, err));
	return evn_op_gelu(d->activation_kernel, d->gated, d->gated_stride, d->gate_up, d->gate_up_stride,
					   y->gate_up.rows, n_tok, err);
}

static const char *const proofs[] = {"layernorm", "gelu", NULL};

const evn_arch evn_arch_gpt2 = {.name = "gpt2",
								.biased = true,
								.stacks = {{"attn_qkv"}, {"attn_output"}, {"ffn_up"}, {"ffn_down"}},
								.out_norm = "output_norm",
								.proofs = proofs,
								.norm = norm,
								.activate = gelu};
