#include "engine/plan_info.h"

#include <stdio.h>
#include <stdlib.h>

struct evn_plan {
	evn_plan_info info;
	evn_plan_rank ranks[EVN_MAX_RANKS];
	evn_plan_dropped dropped[EVN_MAX_CANDIDATES];
	evn_rank_device devices[EVN_MAX_RANKS];
	char dropped_devices[EVN_MAX_CANDIDATES][96], reasons[EVN_MAX_CANDIDATES][256];
	char best_single[96];
	evn_plan *before; /* NULL: none */
};

static void put_range(uint32_t out[2], evn_range r)
{
	out[0] = r.begin;
	out[1] = r.end;
}

/* The rank's part of the first block of a class of which it holds any; of the first one if it holds none. */
static const evn_part *first_part(const evn_split *split, uint32_t k, uint32_t rank)
{
	for (uint32_t i = 0; k < split->shape.n_classes && i < split->shape.classes[k].n_blocks; i++)
		if (evn_range_len(evn_split_part(split, k, i, rank)->held))
			return evn_split_part(split, k, i, rank);
	return evn_split_part(split, k, 0, rank);
}

static void find_layers(const evn_plan_summary *s, uint32_t rank, uint32_t out[2])
{
	for (uint32_t i = 0; i < s->graph->n_blocks; i++) {
		const evn_block *b = &s->graph->blocks[i];
		if (!evn_range_len(evn_split_part(s->split, b->cut_class, b->cut_index, rank)->held))
			continue;
		out[0] = out[1] ? out[0] : b->layer;
		out[1] = b->layer + 1;
	}
}

static void describe_rank(evn_plan *p, const evn_plan_summary *s, uint32_t i)
{
	const evn_plan_shape *shape = &s->split->shape;
	const uint32_t attention = evn_plan_find(shape, EVN_CUT_HEADS), units = evn_plan_find(shape, EVN_CUT_UNITS);
	const evn_part *heads = first_part(s->split, attention, i), *ff = first_part(s->split, units, i);
	const evn_rank_profile *rates = &s->profile->ranks[i];
	evn_plan_rank *r = &p->ranks[i];
	p->devices[i] = s->devices[i];
	r->device = p->devices[i].id;
	r->name = p->devices[i].name;
	r->node = p->devices[i].node[0] ? p->devices[i].node : NULL;
	r->share_decode = evn_split_share(s->split, i, EVN_DECODE);
	r->share_prefill = evn_split_share(s->split, i, EVN_PROMPT);
	put_range(r->heads, heads->held);
	if (attention < shape->n_classes)
		put_range(r->kv_heads, evn_plan_groups(&shape->classes[attention], heads->held));
	put_range(r->ff, ff->used[EVN_DECODE]);
	put_range(r->prompt_ff, ff->used[EVN_PROMPT]);
	put_range(r->vocab, evn_split_part(s->split, EVN_PLAN_VOCAB, 0, i)->held);
	find_layers(s, i, r->layers);
	r->bytes = evn_split_bytes(s->split, i);
	r->gemv_gbs = rates->gemv_gbs;
	r->gemm_gflops = rates->gemm_gflops;
	r->launch_us = rates->launch_us;
	r->map_us = rates->map_us;
}

evn_status evn_plan_describe(evn_plan **out, const evn_plan_summary *s, evn_error *err)
{
	evn_plan *p = *out = calloc(1, sizeof *p);
	if (!p)
		return evn_fail_memory(err, "plan", sizeof *p);
	for (uint32_t i = 0; i < s->split->n_ranks; i++)
		describe_rank(p, s, i);
	for (size_t i = 0; i < s->n_dropped; i++) {
		snprintf(p->dropped_devices[i], sizeof p->dropped_devices[i], "%s", s->dropped[i]);
		snprintf(p->reasons[i], sizeof p->reasons[i], "%s", s->reasons[i]);
		p->dropped[i] = (evn_plan_dropped){p->dropped_devices[i], p->reasons[i]};
	}
	snprintf(p->best_single, sizeof p->best_single, "%s", s->best_single);
	p->info = (evn_plan_info){.n_ranks = s->split->n_ranks,
							  .n_dropped = s->n_dropped,
							  .ranks = p->ranks,
							  .dropped = p->dropped,
							  .decode_tok_s = s->predicted.decode_tok_s,
							  .prefill_tok_s = s->predicted.prefill_tok_s,
							  .best_single_device = p->best_single,
							  .best_single_decode_tok_s = s->best_single_predicted.decode_tok_s,
							  .best_single_prefill_tok_s = s->best_single_predicted.prefill_tok_s,
							  .reduce = s->reduce,
							  .cluster_split = s->cluster_split,
							  .all_reduce_us = s->all_reduce_us,
							  .measured = s->profile->measured};
	return EVN_OK;
}

const evn_plan_info *evn_plan_get(const evn_plan *p) { return &p->info; }
void evn_plan_follow(evn_plan *p, evn_plan *before) { p->before = before; }

void evn_plan_free(evn_plan *p)
{
	for (evn_plan *before; p; p = before) {
		before = p->before;
		free(p);
	}
}
