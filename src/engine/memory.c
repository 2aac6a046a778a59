#include "engine/memory.h"

#include "base/memory.h"

#define DEFAULT_MEMORY 0.9 /* of a device's memory: drivers and the desktop need the rest */
#define FREE_MEMORY 0.95   /* of what is free: programs and queues need some, too */

#define LEAST_CONTEXT 2048u /* a shorter one only if the user asks for it */
#define CONTEXT_STEP 256u

uint64_t evn_memory_limit(const evn_device_info *info, const evn_device_rule *rule, uint32_t n)
{
	const double fraction = rule && rule->memory_fraction > 0 ? rule->memory_fraction : DEFAULT_MEMORY;
	uint64_t limit = (uint64_t)((double)info->memory_bytes * fraction) / n;
	if (info->free_bytes) {
		const uint64_t part = (uint64_t)((double)info->free_bytes * FREE_MEMORY) / n;
		limit = part < limit ? part : limit;
	}
	return rule && rule->memory_bytes && rule->memory_bytes < limit ? rule->memory_bytes : limit;
}

uint64_t evn_host_bytes(void)
{
	const uint64_t bytes = evn_free_memory("");
	return bytes < UINT64_MAX ? (uint64_t)((double)bytes * FREE_MEMORY) : UINT64_MAX;
}

void evn_divide_host_evenly(evn_plan_candidate *ranks, uint32_t n)
{
	uint32_t n_host = 0;
	for (uint32_t i = 0; i < n; i++)
		n_host += ranks[i].host_bytes > 0;
	for (uint32_t i = 0; i < n; i++) {
		if (!ranks[i].host_bytes)
			continue;
		const uint64_t part = ranks[i].host_bytes / n_host;
		ranks[i].memory_bytes = part < ranks[i].memory_bytes ? part : ranks[i].memory_bytes;
		ranks[i].host_bytes = 0;
	}
}

/* Makes p's limits and shape those of the context. */
static bool fits(evn_prepared *p, const evn_limits *full, uint32_t n_ctx, const evn_plan_candidate *c, uint32_t n)
{
	p->limits = *full;
	p->limits.n_ctx = n_ctx;
	p->limits.n_cache = evn_session_positions(p->graph, n_ctx);
	p->limits.n_batch = full->n_batch < n_ctx ? full->n_batch : n_ctx;
	return evn_graph_shape(p->graph, p->limits, &p->shape, NULL) == EVN_OK && evn_plan_fits(&p->shape, c, n);
}

evn_status evn_fit_context(evn_prepared *p, const evn_options *o, const evn_plan_candidate *c, uint32_t n,
						   evn_error *err)
{
	const evn_limits full = p->limits;
	if (o->context || o->cache_tokens || p->graph->encodes || evn_plan_fits(&p->shape, c, n))
		return EVN_OK;
	uint32_t most = full.n_ctx / CONTEXT_STEP, least = LEAST_CONTEXT / CONTEXT_STEP;
	if (most <= least || !fits(p, &full, LEAST_CONTEXT, c, n)) {
		p->limits = full; /* the plan's own error says what is missing */
		return evn_graph_shape(p->graph, full, &p->shape, err);
	}
	while (most - least > 1) {
		const uint32_t middle = least + (most - least) / 2;
		if (fits(p, &full, middle * CONTEXT_STEP, c, n))
			least = middle;
		else
			most = middle;
	}
	fits(p, &full, least * CONTEXT_STEP, c, n);
	evn_log(EVN_LOG_WARN,
			"memory is too short for the context of %u tokens that the model was trained for: it is %u (-c sets "
			"another one)",
			p->graph->h->n_ctx_train, p->limits.n_ctx);
	return EVN_OK;
}
