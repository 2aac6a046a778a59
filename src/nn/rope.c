#include "nn/rope.h"

#include <math.h>

static const double two_pi = 6.283185307179586;

/* YaRN's ramp. It is 1 for dimensions that turn so often within the original context that they must not be stretched,
 * and 0 for those that are stretched fully. Dimension i has frequency base^(-2i/dim) and turns n_ctx_orig / (2 pi
 * base^(2i/dim)) times. */
static double yarn_corrected_dim(const evn_hparams *h, double turns)
{
	return h->rope_dim * log(h->rope_n_ctx_orig / (turns * two_pi)) / (2.0 * log(h->rope_base));
}

static double yarn_extrapolate(const evn_hparams *h, uint32_t pair)
{
	double low = fmax(0.0, floor(yarn_corrected_dim(h, h->rope_beta_fast)));
	double high = fmin(h->rope_dim - 1.0, ceil(yarn_corrected_dim(h, h->rope_beta_slow)));
	double ramp = (pair - low) / fmax(0.001, high - low);
	return 1.0 - fmin(1.0, fmax(0.0, ramp));
}

/* Longrope has a table of divisors for contexts up to the original one, and another for longer ones. */
static const float *divisors(const evn_hparams *h, uint32_t n_ctx)
{
	return h->rope_long_factors && n_ctx > h->rope_n_ctx_orig ? h->rope_long_factors : h->rope_freq_factors;
}

static double frequency(const evn_hparams *h, uint32_t n_ctx, uint32_t pair)
{
	double f = pow(h->rope_base, -2.0 * pair / h->rope_dim);
	if (divisors(h, n_ctx))
		f /= divisors(h, n_ctx)[pair];
	if (h->rope_scaling == EVN_ROPE_SCALING_NONE)
		return f;
	double stretched = f / h->rope_factor;
	if (h->rope_scaling != EVN_ROPE_SCALING_YARN)
		return stretched;
	double keep = h->rope_ext_factor * yarn_extrapolate(h, pair);
	return stretched * (1.0 - keep) + f * keep;
}

/* YaRN's attention is sharper, the more the context is stretched. */
static double magnitude(const evn_hparams *h)
{
	const bool sharper = h->rope_scaling == EVN_ROPE_SCALING_YARN && h->rope_ext_factor > 0 && h->rope_factor > 1;
	return h->rope_attn_factor * (sharper ? 1.0 + 0.1 * log(h->rope_factor) : 1.0);
}

void evn_rope_table(const evn_hparams *h, uint32_t n_ctx, float *table)
{
	const double scale = magnitude(h);
	for (uint32_t pair = 0; pair < h->rope_dim / 2; pair++) {
		double f = frequency(h, n_ctx, pair);
		for (uint32_t position = 0; position < n_ctx; position++) {
			float *cosines = table + (uint64_t)position * h->rope_dim, *sines = cosines + h->rope_dim / 2;
			cosines[pair] = (float)(cos(position * f) * scale);
			sines[pair] = (float)(sin(position * f) * scale);
		}
	}
}
