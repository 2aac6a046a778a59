/* arguments.h - the structs that training kernels take by value. Kernels and the host include this file. */
#ifndef EVN_TRAIN_ARGUMENTS_H
#define EVN_TRAIN_ARGUMENTS_H

#ifdef __OPENCL_VERSION__
#define uint32_t uint
#else
#include <stdint.h>
#endif

/* One rank's heads in the stacked projections of whole sequences. */
typedef struct {
	uint32_t n_heads, n_kv;        /* on this rank */
	uint32_t first_head, first_kv; /* the global index of the rank's first one */
	uint32_t group;                /* query heads of one KV head in the model */
	uint32_t n_ctx, n_sequences;   /* n_ctx is a multiple of EVN_SEQUENCE_GRAIN */
	uint32_t k_offset, v_offset, stride;
	uint32_t out_stride, out_offset; /* of attention's output */
} evn_sequences;

/* Cross-entropy with the vocabulary rows split over ranks, for a piece of n_tok tokens from token `offset` on. */
typedef struct {
	uint32_t first, n; /* this rank's rows of the vocabulary */
	uint32_t stride;   /* of the logits */
	uint32_t offset, n_tok;
	uint32_t rank, n_ranks;
} evn_loss;

typedef struct {
	float rate, beta1, beta2, eps, decay;
	float unbias1, unbias2; /* 1 / (1 - beta^step) */
	float gradient_scale;
} evn_adamw;

#endif
