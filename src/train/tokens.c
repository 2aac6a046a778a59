/* tokens.c - see tokens.h. */
#include "train/tokens.h"

static evn_status count(uint32_t *out, const char *what, uint64_t n, const char *each, uint64_t of_each,
						evn_error *err)
{
	uint64_t product;
	if (!evn_mul_u64(n, of_each, &product) || product > UINT32_MAX)
		return evn_fail(err, EVN_ERR_LIMIT, "%s: %llu %s of %llu are more than %u", what, (unsigned long long)n, each,
						(unsigned long long)of_each, UINT32_MAX);
	*out = (uint32_t)product;
	return EVN_OK;
}

evn_status evn_count_tokens(evn_token_counts *out, uint64_t n_ctx, uint64_t n_sequences, uint64_t n_passes,
							evn_error *err)
{
	*out = (evn_token_counts){0};
	EVN_TRY(count(&out->of_pass, "tokens of a pass", n_sequences, "sequences", n_ctx, err));
	EVN_TRY(count(&out->sequences, "sequences of a step", n_passes, "passes", n_sequences, err));
	out->of_step = n_passes * out->of_pass; /* below 2^64, because both are below 2^32 or there are none */
	return EVN_OK;
}
