/* random.c - random numbers. The same seed gives the same numbers on every machine. */
#include "base/base.h"

#include <math.h>

/* SplitMix64 (Steele, Lea & Flood 2014). */
uint64_t evn_random_bits(evn_random *r)
{
	uint64_t z = r->state += 0x9e3779b97f4a7c15u;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

double evn_random_uniform(evn_random *r) { return (double)(evn_random_bits(r) >> 11) * 0x1p-53; }

/* Box & Muller 1958. The second number of each pair is dropped, so that a number depends only on its place. */
double evn_random_normal(evn_random *r)
{
	double radius = sqrt(-2 * log(1 - evn_random_uniform(r))), angle = 2 * acos(-1) * evn_random_uniform(r);
	return radius * cos(angle);
}

uint32_t evn_random_below(evn_random *r, uint32_t n) { return (uint32_t)(evn_random_uniform(r) * n); }

void evn_random_ids(uint64_t seed, uint32_t vocab, int32_t *ids, size_t n)
{
	evn_random r = {evn_hash(evn_hash_str(EVN_HASH_START, "ids"), &seed, sizeof seed)};
	for (size_t i = 0; i < n; i++)
		ids[i] = (int32_t)evn_random_below(&r, vocab);
}
