/* replan.c - the plan after a device failed, or after its memory was full. */
#include <stdio.h>
#include <string.h>

#include "engine/plan_info.h"
#include "engine/prepare.h"

#define SMALLER 0.75   /* of what a rank should have held: its next limit */
#define MOST_SMALLER 6 /* so often; then a rank had 0.18 of its share, and its device is of no use */

static void note_lost(evn_prepared *out, const evn_prepared *p, uint32_t rank, const char *reason)
{
	evn_lost_device *l = &out->lost[p->n_lost];
	out->n_lost = p->n_lost + 1;
	snprintf(l->device, sizeof l->device, "%s", evn_system_info(p->system, p->picks[rank].device)->id);
	evn_pick_name(p->system, &p->picks[rank], l->name, sizeof l->name);
	snprintf(l->reason, sizeof l->reason, "%s", reason);
}

/* without: p->n takes all. */
static void take_other_ranks(evn_prepared *out, const evn_prepared *p, uint32_t without)
{
	out->profile = p->profile;
	for (uint32_t i = 0; i < p->n; i++) {
		if (i == without)
			continue;
		out->picks[out->n] = p->picks[i];
		out->devices[out->n] = p->devices[i];
		out->ranks[out->n] = p->ranks[i];
		out->profile.ranks[out->n++] = p->profile.ranks[i];
	}
	out->end = out->n;
	out->profile.is_fresh = false;
}

/* The plan that is shown: what was left out before is, and so is what failed (n_lost is 0 or 1). */
static evn_status describe_again(evn_prepared *p, const evn_plan_info *before, uint32_t n_lost, evn_reduce_cost cost,
								 evn_error *err)
{
	evn_plan_summary s = {.split = &p->split,
						  .graph = p->graph,
						  .devices = p->devices,
						  .ranks = p->ranks,
						  .profile = &p->profile,
						  .predicted = evn_predict(&p->split, p->ranks, cost),
						  .best_single = before->best_single_device,
						  .best_single_predicted = {.decode_tok_s = before->best_single_decode_tok_s,
													.prefill_tok_s = before->best_single_prefill_tok_s},
						  .reduce = evn_reduce_name(p->reduce),
						  .all_reduce_us = cost.token_us};
	for (size_t i = 0; i < before->n_dropped && s.n_dropped < EVN_MAX_CANDIDATES - 1; i++) {
		s.dropped[s.n_dropped] = before->dropped[i].device;
		s.reasons[s.n_dropped++] = before->dropped[i].reason;
	}
	if (n_lost) {
		s.dropped[s.n_dropped] = p->lost[p->n_lost - 1].name;
		s.reasons[s.n_dropped++] = p->lost[p->n_lost - 1].reason;
	}
	return evn_plan_describe(&p->plan, &s, err);
}

/* The ranks that out has share the model by the figures that p has. */
static evn_status share_again(evn_prepared *out, evn_prepared *p, const evn_options *o, evn_error *err)
{
	evn_reduce_cost cost = {0};
	out->limits = p->limits;
	out->shape = p->shape;
	out->system = p->system;
	p->system = NULL;
	out->reduce = out->n > 1 ? evn_profile_reduce(&out->profile, o->reduce, &cost) : EVN_REDUCE_AUTO;
	EVN_TRY(evn_graph_make(&out->graph, p->graph->model, err));
	EVN_TRY(evn_prepare_split(out, err));
	return describe_again(out, evn_plan_get(p->plan), out->n_lost - p->n_lost, cost, err);
}

/* Plans that were shown are kept. */
static void follow(evn_prepared *out, evn_prepared *p)
{
	out->limits.n_batch = p->limits.n_batch; /* sessions and schedulers have buffers of this size */
	evn_plan_follow(out->plan, p->plan);
	p->plan = NULL;
}

evn_status evn_prepare_without(evn_prepared *out, evn_prepared *p, const evn_options *o, uint32_t rank,
							   const char *reason, evn_error *err)
{
	*out = (evn_prepared){0};
	memcpy(out->lost, p->lost, sizeof out->lost);
	if (p->n_lost == EVN_MAX_CANDIDATES)
		return evn_fail(err, EVN_ERR_LIMIT, "%u devices have failed already", p->n_lost);
	note_lost(out, p, rank, reason);
	if (p->n > 1) {
		take_other_ranks(out, p, rank);
		EVN_TRY(share_again(out, p, o, err));
	} else if (o->n_devices || o->n_shares) {
		return evn_fail(err, EVN_ERR_DEVICE, "no other device was named");
	} else {
		EVN_TRY(evn_prepare_with(out, p->graph->model, o, EVN_FOR_TEXT, err));
	}
	follow(out, p);
	return EVN_OK;
}

evn_status evn_prepare_smaller(evn_prepared *out, evn_prepared *p, const evn_options *o, uint32_t rank,
							   evn_error *err)
{
	*out = (evn_prepared){.n_lost = p->n_lost, .n_smaller = p->n_smaller + 1};
	if (p->n == 1 || p->n_smaller == MOST_SMALLER)
		return evn_fail(err, EVN_ERR_LIMIT, "no smaller share helps");
	memcpy(out->lost, p->lost, sizeof out->lost);
	take_other_ranks(out, p, p->n);
	out->ranks[rank].memory_bytes = (uint64_t)(SMALLER * (double)evn_split_bytes(&p->split, rank));
	const evn_status s = share_again(out, p, o, err);
	if (s == EVN_OK) {
		follow(out, p);
		return EVN_OK;
	}
	p->system = out->system; /* p stays as it was */
	out->system = NULL;
	return s;
}
