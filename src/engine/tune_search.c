/* tune_search.c - chooses the sets of GEMM parameters to try: a few made by hand, then sets one or two steps from the
 * best so far. The same results give the same sequence. */
#include "engine/tune.h"

#include <stddef.h>
#include <string.h>

#define ATTEMPTS 2000 /* attempts to find a neighbour that is valid and new */

/* The fields of a hand-made set. The others follow from these. */
typedef struct {
	uint32_t kernel, mwg, nwg, depth, mdimc, ndimc, vwm, vwn, local;
} seed;

/* Few work-items with tall tiles of vectors: a CPU driver runs the work-items of a group one after the other. */
static const seed cpu_seeds[] = {
	{1, 64, 64, 16, 2, 8, 16, 4, 0},  {0, 64, 32, 64, 2, 4, 16, 8, 0}, {1, 64, 64, 8, 2, 8, 16, 4, 0},
	{1, 64, 64, 16, 2, 2, 16, 16, 0}, {0, 64, 16, 64, 2, 2, 16, 8, 0}, {1, 64, 64, 16, 4, 8, 16, 8, 0},
	{0, 128, 16, 64, 4, 2, 8, 4, 0},  {1, 32, 32, 4, 2, 4, 8, 4, 0},
};
/* Many work-items, with operands in local memory. */
static const seed gpu_seeds[] = {
	{0, 64, 64, 32, 8, 8, 4, 4, 1},     {0, 128, 64, 16, 16, 8, 4, 4, 1}, {0, 64, 64, 16, 16, 16, 2, 2, 1},
	{0, 128, 128, 16, 16, 16, 4, 4, 1}, {1, 64, 64, 4, 8, 8, 4, 4, 0},    {0, 32, 32, 32, 8, 8, 2, 2, 1},
	{1, 32, 32, 2, 8, 8, 2, 2, 0},      {0, 64, 32, 32, 8, 8, 4, 2, 0},
};

static void complete(evn_gemm_params *p)
{
	p->mdima = p->mdimc;
	p->ndimb = p->ndimc;
	if (p->kernel == 1) {
		p->kwg = p->kwi = 1;
		p->sa = p->sb = p->strm = p->strn = 0;
		p->nwg = p->mwg;
	} else {
		p->kreg = 1;
		p->kwg = p->kwg < 16 ? 32 : p->kwg;
		p->kwi = p->kwi < 2 ? 2 : p->kwi;
	}
}

static evn_gemm_params from_seed(const seed *s)
{
	evn_gemm_params p = {.kernel = s->kernel,
						 .mwg = s->mwg,
						 .nwg = s->nwg,
						 .kwg = s->depth,
						 .kreg = s->depth,
						 .mdimc = s->mdimc,
						 .ndimc = s->ndimc,
						 .vwm = s->vwm,
						 .vwn = s->vwn,
						 .sa = s->local,
						 .sb = s->local,
						 .indirect_from = 64};
	complete(&p);
	return p;
}

/* ---- steps from the best ----------------------------------------------------------------------------------------
 */

/* The values that a field can have: powers of two from low to high. Local memory is for GPUs, tall tiles are for
 * CPUs. */
typedef struct {
	size_t field;
	uint32_t low, high;
} range;
static const range ranges[] = {
	{offsetof(evn_gemm_params, mwg), 8, 256},  {offsetof(evn_gemm_params, nwg), 8, 128},
	{offsetof(evn_gemm_params, kwg), 16, 128}, {offsetof(evn_gemm_params, kwi), 2, 8},
	{offsetof(evn_gemm_params, kreg), 1, 16},  {offsetof(evn_gemm_params, mdimc), 1, 32},
	{offsetof(evn_gemm_params, ndimc), 1, 32}, {offsetof(evn_gemm_params, vwm), 1, 16},
	{offsetof(evn_gemm_params, vwn), 1, 16},
};
#define N_RANGES (sizeof ranges / sizeof *ranges)
static const size_t switches[] = {offsetof(evn_gemm_params, strm), offsetof(evn_gemm_params, strn),
								  offsetof(evn_gemm_params, sa), offsetof(evn_gemm_params, sb),
								  offsetof(evn_gemm_params, kernel)};
#define N_SWITCHES (sizeof switches / sizeof *switches)

static void step(evn_gemm_params *p, evn_random *random)
{
	uint32_t i = evn_random_below(random, N_RANGES + N_SWITCHES);
	if (i >= N_RANGES) {
		*(uint32_t *)((char *)p + switches[i - N_RANGES]) ^= 1;
		return;
	}
	uint32_t *value = (uint32_t *)((char *)p + ranges[i].field);
	if (evn_random_below(random, 2))
		*value = *value * 2 <= ranges[i].high ? *value * 2 : *value;
	else
		*value = *value / 2 >= ranges[i].low ? *value / 2 : *value;
}

static bool is_new(const evn_tune_search *s, const evn_gemm_params *p)
{
	for (uint32_t i = 0; i < s->n; i++)
		if (!memcmp(&s->tried[i].params, p, sizeof *p))
			return false;
	return true;
}

void evn_tune_search_begin(evn_tune_search *s, bool cpu) { *s = (evn_tune_search){.cpu = cpu, .random = {1}}; }

bool evn_tune_search_next(evn_tune_search *s, evn_gemm_params *out)
{
	const seed *seeds = s->cpu ? cpu_seeds : gpu_seeds;
	size_t n_seeds = s->cpu ? sizeof cpu_seeds / sizeof *cpu_seeds : sizeof gpu_seeds / sizeof *gpu_seeds;
	if (s->n == EVN_TUNE_MOST)
		return false;
	while (s->next_seed < n_seeds) {
		*out = from_seed(&seeds[s->next_seed++]);
		if (is_new(s, out))
			return true;
	}
	for (int i = 0; i < ATTEMPTS && s->n; i++) {
		*out = s->tried[s->best].params;
		for (uint32_t steps = 1 + evn_random_below(&s->random, 3); steps; steps--)
			step(out, &s->random);
		complete(out);
		if (evn_gemm_params_valid(out) && is_new(s, out))
			return true;
	}
	return false;
}

void evn_tune_search_record(evn_tune_search *s, const evn_gemm_params *p, double gflops)
{
	if (s->n == EVN_TUNE_MOST)
		return;
	s->tried[s->n].params = *p;
	s->tried[s->n].gflops = gflops;
	if (gflops > s->tried[s->best].gflops)
		s->best = s->n;
	s->n++;
}
