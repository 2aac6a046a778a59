#include "nn/distances.h"

#include <math.h>
#include <stdlib.h>

#include "kernels/constants.h"

#define NEAR_BORDER 1e-6 /* the logarithm at a border of two buckets is a whole number, but for rounding */

/* Half of the buckets have one distance each, the others distances in equal ratios, up to EVN_BIAS_FARTHEST. */
uint32_t evn_distance_bucket(int distance, uint32_t n, bool both_ways)
{
	const uint32_t first = both_ways && distance > 0 ? n / 2 : 0, side = both_ways ? n / 2 : n, exact = side / 2;
	const uint32_t far = (uint32_t)(both_ways ? abs(distance) : distance < 0 ? -distance : 0);
	if (far < exact)
		return first + far;
	const double most = log((double)EVN_BIAS_FARTHEST / exact);
	const double at = log((double)far / exact) / most * (side - exact) + NEAR_BORDER;
	return first + (most > 0 && at < side - exact ? exact + (uint32_t)at : side - 1);
}

evn_status evn_distance_biases(const evn_tensor *table, bool both_ways, evn_range heads, float *out, evn_error *err)
{
	const uint64_t n_heads = table->shape[0], n_buckets = table->shape[1];
	const uint32_t n = evn_range_len(heads);
	float *all = malloc(n_heads * n_buckets * sizeof *all);
	if (!all)
		return evn_fail_memory(err, "biases of distances", n_heads * n_buckets * sizeof *all);
	const evn_status s = evn_tensor_rows(table, 0, n_buckets, all, err);
	for (uint32_t h = 0; h < n && s == EVN_OK; h++)
		for (int i = 0; i < EVN_BIASES; i++) {
			const int distance = i - EVN_BIAS_FARTHEST - EVN_KV_TILE;
			out[(uint64_t)h * EVN_BIASES + (uint64_t)i] =
				all[evn_distance_bucket(distance, (uint32_t)n_buckets, both_ways) * n_heads + heads.begin + h];
		}
	free(all);
	return s;
}
