/* gpt2.c - GPT-2 (Radford et al. 2019): learned positions, LayerNorm, GELU, a bias on everything, q, k and v rows in
 * one tensor. */
#include "nn/decoder_rank.h"

static evn_status expand(evn_decoder *d, const evn_ff *f, evn_form form, const evn_buf *normed, uint32_t n_tok,
						 evn_error *err)
{
	EVN_TRY(evn_op_linear(d->ops, d->gate_up, d->gate_up_stride, normed, d->dim_stride, &f->gate_up, n_tok, err));
	if (f->gate_up_bias)
		EVN_TRY(evn_op_add_bias(d->ops, d->gate_up, d->gate_up_stride, f->gate_up_bias, f->gate_up.rows, n_tok, err));
	return evn_op_gelu(d->ops, form, d->gated, d->gated_stride, d->gate_up, d->gate_up_stride, f->gate_up.rows, n_tok,
					   err);
}

static const char *const proofs[] = {"layernorm", "gelu", NULL};

const evn_arch evn_arch_gpt2 = {.name = "gpt2",
								.biased = true,
								.stacks = {{"attn_qkv"}, {"attn_output"}, {"ffn_up"}, {"ffn_down"}},
								.out_norm = "output_norm",
								.proofs = proofs,
								.norm = EVN_NORM_LAYER,
								.expand = expand};
