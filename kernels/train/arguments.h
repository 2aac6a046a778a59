/* arguments.h - the structs that training kernels take by value. Kernels and the host include this file. */
#ifndef EVN_TRAIN_ARGUMENTS_H
#define EVN_TRAIN_ARGUMENTS_H

#ifdef __OPENCL_VERSION__
#define uint32_t uint
#else
#include <stdint.h>
#endif

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
