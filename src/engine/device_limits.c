#include "engine/device_limits.h"

#define LONGEST_LAUNCH_S 0.2 /* systems reset a card after 2 to 10 s */

/* The bytes of the keys of the block of which the rank holds most. */
static uint64_t largest_cache(const evn_split *s, uint32_t rank)
{
	uint64_t most = 0;
	for (uint32_t k = 0; k < s->shape.n_classes; k++) {
		const evn_plan_class *cut = &s->shape.classes[k];
		for (uint32_t i = 0; i < cut->n_blocks && cut->cache_bytes; i++) {
			const evn_range groups = evn_plan_groups(cut, evn_split_part(s, k, i, rank)->held);
			const uint64_t bytes = evn_range_len(groups) * (cut->cache_bytes / 2);
			most = bytes > most ? bytes : most;
		}
	}
	return most;
}

bool evn_limit_caches(const evn_prepared *p, uint64_t *memory)
{
	bool any = false;
	for (uint32_t r = 0; r < p->n && p->n > 1; r++) {
		const uint64_t bytes = largest_cache(&p->split, r), most = p->devices[r].max_alloc_bytes;
		if (bytes <= most)
			continue;
		memory[r] = (uint64_t)((double)evn_split_bytes(&p->split, r) * 0.98 * (double)most / (double)bytes);
		any = true;
	}
	return any;
}

/* The multiply-adds of a row in the block of which the rank has most. */
static double largest_block(const evn_split *s, uint32_t rank)
{
	double most = 0;
	for (uint32_t k = EVN_PLAN_VOCAB + 1; k < s->shape.n_classes; k++) {
		const evn_plan_class *cut = &s->shape.classes[k];
		for (uint32_t i = 0; i < cut->n_blocks; i++) {
			const evn_range units = evn_split_part(s, k, i, rank)->used[EVN_PROMPT];
			const double macs =
				evn_range_len(units) * cut->unit_macs + evn_range_len(evn_plan_groups(cut, units)) * cut->group_macs;
			most = macs > most ? macs : most;
		}
	}
	return most;
}

void evn_limit_batch(evn_prepared *p)
{
	for (uint32_t r = 0; r < p->n; r++) {
		const double macs = largest_block(&p->split, r), rate = p->ranks[r].rates.gemm_gflops * 1e9;
		if (p->devices[r].is_cpu || macs <= 0 || rate <= 0)
			continue;
		const double rows = LONGEST_LAUNCH_S * rate / (2 * macs);
		if (rows >= p->limits.n_batch)
			continue;
		p->limits.n_batch = rows < 2 * EVN_PAD ? EVN_PAD : (uint32_t)rows / EVN_PAD * EVN_PAD;
		evn_log(EVN_LOG_INFO,
				"%s is slow: prompts are computed %u tokens at a time, so that it is never busy for long",
				p->devices[r].name, p->limits.n_batch);
	}
}
