/* llama.c - the Llama family (Touvron et al. 2023): RMS norms, rotated positions, a gated feed-forward network.
 * Mistral and SmolLM files call themselves llama; Qwen 2 has biases on q, k and v, Qwen 3 norms on q and k. */
#include "nn/decoder_rank.h"

static evn_status expand(evn_decoder *d, const evn_ff *f, evn_form form, const evn_buf *normed, uint32_t n_tok,
						 evn_error *err)
{
	if (!f->gate_up_bias)
		return evn_op_gate_up(d->ops, form, d->gated, d->gated_stride, normed, d->dim_stride, &f->gate_up,
							  f->up_offset, d->gate_up, d->gate_up_stride, n_tok, err);
	EVN_TRY(evn_op_linear(d->ops, d->gate_up, d->gate_up_stride, normed, d->dim_stride, &f->gate_up, n_tok, err));
	EVN_TRY(evn_op_add_bias(d->ops, d->gate_up, d->gate_up_stride, f->gate_up_bias, f->gate_up.rows, n_tok, err));
	return evn_op_swiglu(d->ops, form, d->gated, d->gated_stride, d->gate_up, d->gate_up_stride, f->up_offset,
						 f->up_offset, n_tok, err);
}

static const char *const proofs[] = {"rmsnorm", "swiglu", NULL};

/* clang-format off */
#define FAMILY .stacks = {{"attn_q", "attn_k", "attn_v"}, {"attn_output"}, {"ffn_gate", "ffn_up"}, {"ffn_down"}}, \
	.out_norm = "output_norm", .proofs = proofs, .norm = EVN_NORM_RMS, .expand = expand
/* clang-format on */

const evn_arch evn_arch_llama = {.name = "llama", FAMILY};
const evn_arch evn_arch_qwen2 = {.name = "qwen2", .rope_neox = true, FAMILY};
const evn_arch evn_arch_qwen3 = {.name = "qwen3", .rope_neox = true, .qk_norm = true, FAMILY};
