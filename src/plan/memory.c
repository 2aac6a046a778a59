/* memory.c - what each rank may hold, and whether a model fits at all. */
#include <math.h>
#include <string.h>

#include "plan/plan.h"

static double host_weight(const evn_plan_candidate *c, double share) { return c->host_bytes ? share : 0; }

void evn_plan_memory(uint64_t *memory, const evn_plan_shape *s, const evn_plan_candidate *c, const double *shares,
					 uint32_t n)
{
	const uint64_t fixed = evn_plan_fixed_bytes(s, n);
	uint32_t n_host = 0;
	double weight = 0;
	for (uint32_t i = 0; i < n; i++) {
		n_host += host_weight(&c[i], shares[i]) > 0;
		weight += host_weight(&c[i], shares[i]);
	}
	for (uint32_t i = 0; i < n; i++) {
		const double part = weight > 0 ? host_weight(&c[i], shares[i]) / weight : 0;
		memory[i] = c[i].memory_bytes;
		if (part <= 0)
			continue;
		const double room = fmax(0, (double)c[i].host_bytes - (double)fixed * n_host);
		const double most = fmin((double)fixed, (double)c[i].host_bytes / n_host) + room * part;
		memory[i] = most < (double)memory[i] ? (uint64_t)most : memory[i];
	}
}

bool evn_plan_host_is_full(const evn_split *split, const evn_plan_candidate *c)
{
	uint64_t sum = 0, most = UINT64_MAX;
	for (uint32_t i = 0; i < split->n_ranks; i++) {
		sum += c[i].host_bytes ? evn_split_bytes(split, i) : 0;
		most = c[i].host_bytes ? c[i].host_bytes : most;
	}
	return sum > most;
}

/* Candidates that can work together, those with the most memory first. Returns the number of their ranks. */
static uint32_t take_largest(evn_plan_candidate *ranks, const evn_plan_candidate *c, uint32_t n)
{
	bool out[EVN_MAX_CANDIDATES] = {false};
	uint32_t n_ranks = 0;
	for (;;) {
		const evn_plan_candidate *best = NULL;
		for (uint32_t i = 0; i < n; i++)
			if (!out[i] &&
				(!best || c[i].memory_bytes * evn_plan_parts(&c[i]) > best->memory_bytes * evn_plan_parts(best)))
				best = &c[i];
		if (!best)
			return n_ranks;
		for (uint32_t i = 0; i < n; i++)
			out[i] |= &c[i] == best || evn_plan_excludes(&c[i], best);
		for (uint32_t k = 0; k < evn_plan_parts(best) && n_ranks < EVN_MAX_RANKS && best->share != 0; k++)
			ranks[n_ranks++] = *best;
	}
}

bool evn_plan_fits(const evn_plan_shape *s, const evn_plan_candidate *c, uint32_t n)
{
	evn_plan_candidate ranks[EVN_MAX_RANKS];
	double shares[EVN_MAX_RANKS];
	uint64_t memory[EVN_MAX_RANKS];
	evn_split split = {0};
	const uint32_t n_ranks = take_largest(ranks, c, n);
	if (!n_ranks)
		return false;
	for (uint32_t i = 0; i < n_ranks; i++)
		shares[i] = 1;
	evn_plan_memory(memory, s, ranks, shares, n_ranks);
	const evn_status status = evn_split_make(&split, s, n_ranks, shares, NULL, memory, NULL);
	evn_split_free(&split);
	return status == EVN_OK;
}
