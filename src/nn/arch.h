/* arch.h - the architectures evener runs: each is described in a file of its own and named in one row of arch.c. What
 * all share - the split, the two sums of a layer, attention over the cache - is the decoder's. */
#ifndef EVN_ARCH_H
#define EVN_ARCH_H

#include "model/model.h"
#include "nn/matrix.h"
#include "nn/ops_attention.h"

/* Matrices of a layer that read the same input, stacked: their names without ".weight", NULL behind the last. */
typedef const char *evn_stack[EVN_MATRIX_PARTS + 1];
enum {
	EVN_STACK_QKV, /* rows of the query heads, of the key heads, of the value heads; in three tensors or in one */
	EVN_STACK_ATTN_OUT,
	EVN_STACK_FF_IN, /* gate and up, or up alone */
	EVN_STACK_FF_OUT,
	EVN_STACKS
};

struct evn_decoder;
struct evn_ff;

/* Weights of a norm; the bias may be NULL. */
typedef struct {
	evn_buf *weight, *bias;
} evn_norm_weights;

typedef struct {
	const char *name; /* general.architecture */
	bool rope_neox; /* rotates pairs (i, i + rope_dim/2); llama files hold their q and k rows permuted for (2i, 2i+1)
					 */
	bool qk_norm;   /* RMS norm of each query and key head before the rotation */
	bool biased;    /* every norm and every matrix of a layer has a bias */
	evn_stack stacks[EVN_STACKS]; /* empty: it has no layers */
	const char *out_norm;         /* before the output matrix; NULL: none */
	const char *const *proofs;    /* known-answer cases of the kernels it has for itself; NULL behind the last */
	evn_norm_kind norm;
	/* d->gated, in the form asked for, = what the down projection reads, from normed rows. NULL without layers. */
	evn_status (*expand)(struct evn_decoder *d, const struct evn_ff *f, evn_form form, const evn_buf *normed,
						 uint32_t n_tok, evn_error *err);
} evn_arch;

extern const evn_arch evn_arch_llama, evn_arch_qwen2, evn_arch_qwen3, evn_arch_gpt2, evn_arch_simple_lm;

/* EVN_ERR_UNSUPPORTED lists what there is. */
evn_status evn_arch_find(const evn_model *m, const evn_arch **out, evn_error *err);
/* The matrix of a stack in a layer, of any shape. */
evn_status evn_arch_matrix(const evn_model *m, uint32_t layer, const char *stem, const evn_tensor **out,
						   evn_error *err);
/* How its heads attend; h->n_layers > 0. */
evn_attention_config evn_arch_heads(const evn_arch *arch, const evn_hparams *h, evn_kv_cache kv_cache);

#endif
