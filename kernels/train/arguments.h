/* arguments.h - structs that the kernels of training take by value, as the host has them. */
#ifndef EVN_TRAIN_ARGUMENTS_H
#define EVN_TRAIN_ARGUMENTS_H

#ifdef __OPENCL_VERSION__
#define uint32_t uint
#else
#include <stdint.h>
#endif

/* Where one rank's heads lie in stacked projections of whole sequences. */
typedef struct {
	uint32_t n_heads, n_kv;        /* local */
	uint32_t first_head, first_kv; /* global index of the first local one */
	uint32_t group;                /* query heads per KV head, global */
	uint32_t n_ctx, n_sequences;   /* n_ctx a multiple of EVN_SEQUENCE_GRAIN */
	uint32_t k_offset, v_offset, stride;
	uint32_t out_stride, out_offset; /* of the attention's output */
} evn_sequences;

/* Cross-entropy of vocabulary rows split over ranks: a piece of n_tok tokens from token `offset` on. */
typedef struct {
	uint32_t first, n; /* this rank's rows of the vocabulary */
	uint32_t stride;   /* of logits */
	uint32_t offset, n_tok;
	uint32_t rank, n_ranks;
} evn_loss;

typedef struct {
	float rate, beta1, beta2, eps, decay;
	float unbias1, unbias2; /* 1 / (1 - beta^step) */
	float gradient_scale;
} evn_adamw;

#endif
