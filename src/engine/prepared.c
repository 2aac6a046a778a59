/* prepared.c - the ranges of a decision, and decisions that follow from another one. */
#include <string.h>

#include "engine/device_limits.h"
#include "engine/memory.h"
#include "engine/stages.h"

#define CACHE_SPLITS 16 /* attempts to make every rank's KV cache fit into its buffers */

evn_status evn_prepare_split(evn_prepared *p, evn_error *err)
{
	double shares[EVN_MAX_RANKS], prompt_shares[EVN_MAX_RANKS];
	uint64_t memory[EVN_MAX_RANKS];
	EVN_TRY(evn_plan_shares(shares, prompt_shares, p->ranks, p->n, err));
	evn_plan_memory(memory, &p->shape, p->ranks, shares, p->n);
	EVN_TRY(evn_split_make(&p->split, &p->shape, p->n, shares, prompt_shares, memory, err));
	for (uint32_t i = 0; i < CACHE_SPLITS && evn_limit_caches(p, memory); i++) {
		evn_split_free(&p->split);
		EVN_TRY(evn_split_make(&p->split, &p->shape, p->n, shares, prompt_shares, memory, err));
	}
	return EVN_OK;
}

evn_status evn_prepare_ranges(evn_prepared *p, evn_error *err)
{
	for (uint32_t i = 0; i < p->n; i++)
		p->ranks[i].name = p->ranks[i].id = p->devices[i].id;
	const evn_status s =
		p->stages.split == EVN_CLUSTER_PIPELINE ? evn_stages_split(p, err) : evn_prepare_split(p, err);
	for (uint32_t i = 0; i < p->n; i++)
		p->ranks[i].name = p->ranks[i].id = NULL; /* p may be copied */
	if (s != EVN_OK)
		return s;
	evn_limit_batch(p);
	if (p->split.one_layout)
		evn_log(EVN_LOG_WARN,
				"memory is too short for prompts to have shares of their own: they have those of decoding");
	return EVN_OK;
}

evn_status evn_prepare_alone(evn_prepared *out, const evn_prepared *p, uint32_t rank, evn_error *err)
{
	evn_plan_candidate ranks[EVN_MAX_RANKS]; /* which all hold a whole model */
	memcpy(ranks, p->ranks, p->n * sizeof *ranks);
	evn_divide_host_evenly(ranks, p->n);
	*out = (evn_prepared){.limits = p->limits,
						  .shape = p->shape,
						  .n = 1,
						  .end = 1,
						  .picks = {p->picks[rank]},
						  .devices = {p->devices[rank]},
						  .ranks = {ranks[rank]},
						  .profile = {.ranks = {p->profile.ranks[rank]}}};
	EVN_TRY(evn_graph_make(&out->graph, p->graph->model, err));
	EVN_TRY(evn_system_open(&out->system, err));
	return evn_split_make(&out->split, &out->shape, 1, (double[]){1}, NULL, &out->ranks[0].memory_bytes, err);
}

void evn_prepared_free(evn_prepared *p)
{
	evn_plan_free(p->plan);
	evn_split_free(&p->split);
	evn_graph_free(p->graph);
	evn_system_close(p->system);
	*p = (evn_prepared){0};
}
