#include "nn/rope.h"

#include <math.h>

static const double two_pi = 6.283185307179586;

/* YaRN's ramp. It is 1 for dimensions that turn so often within the original context that they must not be stretched,
 * and 0 for those that are stretched fully. Dimension i has frequency base^(-2i/dim) and turns n_ctx_orig / (2 pi
 * base^(2i/dim)) times. */
static double yarn_corrected_dim(const evn_rope *r, double turns)
{
	return r->dim * log(r->n_ctx_orig / (turns * two_pi)) / (2.0 * log(r->base));
}

static double yarn_extrapolate(const evn_rope *r, uint32_t pair)
{
	double low = yarn_corrected_dim(r, r->beta_fast), high = yarn_corrected_dim(r, r->beta_slow);
	low = fmax(0.0, r->exact_ramp ? low : floor(low));
	high = fmin(r->dim - 1.0, r->exact_ramp ? high : ceil(high));
	double ramp = (pair - low) / fmax(0.001, high - low);
	return 1.0 - fmin(1.0, fmax(0.0, ramp));
}

/* Longrope has a table of divisors for contexts up to the original one, and another for longer ones. */
static const float *divisors(const evn_rope *r, uint32_t n_ctx)
{
	return r->long_factors && n_ctx > r->n_ctx_orig ? r->long_factors : r->freq_factors;
}

static double frequency(const evn_rope *r, uint32_t n_ctx, uint32_t pair)
{
	double f = pow(r->base, -2.0 * pair / r->dim);
	if (divisors(r, n_ctx))
		f /= divisors(r, n_ctx)[pair];
	if (r->scaling == EVN_ROPE_SCALING_NONE)
		return f;
	double stretched = f / r->factor;
	if (r->scaling != EVN_ROPE_SCALING_YARN)
		return stretched;
	double keep = r->ext_factor * yarn_extrapolate(r, pair);
	return stretched * (1.0 - keep) + f * keep;
}

/* YaRN's attention is sharper, the more the context is stretched. */
static double magnitude(const evn_rope *r)
{
	const bool sharper = r->scaling == EVN_ROPE_SCALING_YARN && r->ext_factor > 0 && r->factor > 1;
	const double log_factor = sharper ? 0.1 * log(r->factor) : 0;
	return r->attn_factor * (1 + log_factor) / (1 + r->log_multiplier * log_factor);
}

void evn_rope_table(const evn_rope *r, uint32_t n_ctx, float *table)
{
	const double scale = magnitude(r);
	const uint32_t stride = evn_rope_stride(r);
	for (uint32_t pair = 0; pair < r->dim / 2; pair++) {
		double f = frequency(r, n_ctx, pair);
		for (uint32_t position = 0; position < n_ctx; position++) {
			float *cosines = table + (uint64_t)position * stride, *sines = cosines + r->dim / 2;
			cosines[pair] = (float)(cos(position * f) * scale);
			sines[pair] = (float)(sin(position * f) * scale);
		}
	}
	for (uint32_t position = 0; position < n_ctx && stride > r->dim; position++) {
		float *factors = table + (uint64_t)position * stride + r->dim;
		for (uint32_t i = 0; i < stride - r->dim; i++)
			factors[i] = (float)(1 + r->query_growth * log1p(position / r->n_ctx_orig));
	}
}
