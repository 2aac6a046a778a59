/* tokens.h - the number of tokens of a pass and of a training step. Memory is allocated and written for the same
 * number, so it is computed once, in checked arithmetic. */
#ifndef EVN_TOKENS_H
#define EVN_TOKENS_H

#include "base/base.h"

typedef struct {
	uint32_t of_pass;   /* in all of its sequences */
	uint32_t sequences; /* of a step, over all of its passes */
	uint64_t of_step;
} evn_token_counts;

/* A step is n_passes passes of n_sequences sequences of n_ctx tokens. EVN_ERR_LIMIT if the tokens of a pass or the
 * sequences of a step are 2^32 or more, because kernels and windows are numbered in 32 bits. The message has the
 * numbers. */
evn_status evn_count_tokens(evn_token_counts *out, uint64_t n_ctx, uint64_t n_sequences, uint64_t n_passes,
							evn_error *err);

#endif
