/* plan_info.h - a plan in the form of the public header, with its own copies of strings. */
#ifndef EVN_PLAN_INFO_H
#define EVN_PLAN_INFO_H

#include "engine/prepare.h"
#include "plan/plan.h"

typedef struct {
	const evn_split *split;
	const evn_graph *graph;
	const evn_rank_device *devices; /* (n_ranks of split) */
	const evn_plan_candidate *ranks;
	const evn_profile *profile;
	evn_prediction predicted, best_single_predicted;
	const char *best_single, *reduce, *cluster_split;
	double all_reduce_us;
	size_t n_dropped;
	const char *dropped[EVN_MAX_CANDIDATES], *reasons[EVN_MAX_CANDIDATES];
} evn_plan_summary;

/* p takes the place of a plan that users may still look at; evn_plan_free(p) frees both. */
void evn_plan_follow(evn_plan *p, evn_plan *before);
evn_status evn_plan_describe(evn_plan **out, const evn_plan_summary *s, evn_error *err);

#endif
