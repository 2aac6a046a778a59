/* prepare.c - the decision: candidates, their measured rates, who takes part, who holds what. */
#include "engine/prepare.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/cluster.h"
#include "engine/device_limits.h"
#include "engine/plan_info.h"
#include "engine/layout.h"
#include "engine/memory.h"
#include "engine/stages.h"

#define DEFAULT_BATCH 512u
#define POSITIONS_A_ROW 4u /* of an encoder's cache: a text of 16 tokens takes a block of 64 positions */
#define TRIAL_S 30u        /* for a device that the first plan can do without; its compiler may take minutes */

/* What the steps of a decision share. */
typedef struct {
	evn_prepared *p;
	const evn_model *m;
	const evn_options *o;
	evn_profile_options profile_options;
	uint32_t n_candidates;
	evn_layout layouts[EVN_MAX_CANDIDATES];
	evn_profile profiles[EVN_MAX_CANDIDATES]; /* each candidate without the others */
	evn_plan_candidate candidates[EVN_MAX_CANDIDATES];
	evn_choice choice;
	evn_error *err;
} decision;

static const char *why_lost(const evn_prepared *p, const char *device)
{
	for (uint32_t i = 0; i < p->n_lost; i++)
		if (strcmp(p->lost[i].device, device) == 0)
			return p->lost[i].reason;
	return NULL;
}

evn_status evn_prepare_shape(evn_prepared *p, const evn_model *m, const evn_options *o, evn_error *err)
{
	const evn_hparams *h;
	EVN_TRY(evn_model_require_hparams(m, &h, err));
	EVN_TRY(evn_graph_make(&p->graph, m, err));
	const bool encodes = p->graph->encodes;
	evn_limits *l = &p->limits;
	l->n_ctx = o->context ? o->context : h->n_ctx_train;
	l->n_batch = o->batch ? o->batch : DEFAULT_BATCH;
	if (p->graph->n_encoder && p->cluster)
		return evn_fail(err, EVN_ERR_UNSUPPORTED, "%s: a model with an encoder and a decoder runs on one node",
						evn_gguf_name(evn_model_gguf(m)));
	if (p->graph->n_encoder && !o->batch && l->n_batch < l->n_ctx)
		l->n_batch = l->n_ctx;
	l->n_cache = o->cache_tokens ? o->cache_tokens : l->n_ctx;
	if (p->graph->n_encoder && l->n_cache < evn_session_positions(p->graph, l->n_ctx))
		l->n_cache = evn_session_positions(p->graph, l->n_ctx);
	if (l->n_cache < l->n_ctx)
		return evn_fail(err, EVN_ERR_USAGE, "cache_tokens: %u, and a single request may have %u (the context)",
						l->n_cache, l->n_ctx);
	l->kv_cache = o->kv_cache;
	l->messages = o->messages;
	if (encodes ? l->n_batch < l->n_ctx : l->n_batch > l->n_ctx)
		l->n_batch = l->n_ctx; /* an encoder computes a whole text at once */
	if (encodes && l->n_cache < POSITIONS_A_ROW * l->n_batch)
		l->n_cache = POSITIONS_A_ROW * l->n_batch;
	if (l->n_ctx > h->n_ctx_train)
		evn_log(EVN_LOG_WARN, "context %u is longer than the %u the model was trained for", l->n_ctx, h->n_ctx_train);
	evn_model_warn_unknown_keys(m);
	return evn_graph_shape(p->graph, *l, &p->shape, err);
}

/* ---- candidates -------------------------------------------------------------------------------------------------
 */

static evn_status list_all(decision *d)
{
	const evn_system *s = d->p->system;
	d->n_candidates = evn_layouts_list(s, d->layouts);
	if (d->n_candidates)
		return EVN_OK;
	const char *why = evn_system_count(s)           ? evn_system_info(s, 0)->reason
					  : evn_system_problem_count(s) ? evn_system_problem(s, 0).reason
													: "no driver is installed";
	return evn_fail(d->err, EVN_ERR_DEVICE, "no usable OpenCL device: %s (evener devices tells more)", why);
}

static evn_status list_asked(decision *d)
{
	evn_pick picks[EVN_MAX_RANKS];
	size_t n = 0;
	for (size_t i = 0; i < d->o->n_devices; i++)
		EVN_TRY(evn_system_select(d->p->system, d->o->devices[i].match, i, picks, &n, EVN_MAX_RANKS, d->err));
	for (size_t i = 0; i < n; i++)
		d->layouts[i] = evn_layout_of(d->p->system, &picks[i]);
	d->n_candidates = (uint32_t)n;
	return EVN_OK;
}

static const evn_device_rule *rule_of(const decision *d, uint32_t i)
{
	return d->o->n_devices ? &d->o->devices[d->layouts[i].picks[0].rule] : NULL;
}

/* A rule's share is divided over its ranks by their compute units. */
static double rule_share(const decision *d, uint32_t i, evn_phase phase)
{
	const evn_device_rule *rule = rule_of(d, i);
	const double *given = phase == EVN_DECODE ? d->o->shares : d->o->prompt_shares;
	if (d->o->n_shares)
		return given ? given[i] : EVN_SHARE_AUTO;
	const double *share = !rule ? NULL : phase == EVN_DECODE ? &rule->share : rule->prompt_share;
	if (!share || *share < 0)
		return EVN_SHARE_AUTO;
	double units = 0, own = 0;
	for (uint32_t k = 0; k < d->n_candidates; k++) {
		const evn_pick *pick = &d->layouts[k].picks[0];
		double u = pick->n_units ? pick->n_units : evn_system_info(d->p->system, pick->device)->compute_units;
		if (rule_of(d, k) == rule)
			units += u;
		if (k == i)
			own = u;
	}
	return units > 0 ? *share * own / units : *share;
}

static evn_status make_candidates(decision *d)
{
	const uint64_t host_bytes = evn_host_bytes();
	if (d->o->n_shares && d->o->n_shares != d->n_candidates)
		return evn_fail(d->err, EVN_ERR_USAGE, "shares: %zu given for %u devices", d->o->n_shares, d->n_candidates);
	for (uint32_t i = 0; i < d->n_candidates; i++) {
		size_t device = d->layouts[i].picks[0].device;
		const evn_device_info *info = evn_system_info(d->p->system, device);
		d->candidates[i] =
			(evn_plan_candidate){.name = d->layouts[i].name,
								 .id = d->layouts[i].name,
								 .memory_bytes = evn_memory_limit(info, rule_of(d, i), d->layouts[i].n),
								 .host_bytes = info->unified_memory ? host_bytes : 0,
								 .share = rule_share(d, i, EVN_DECODE),
								 .prompt_share = rule_share(d, i, EVN_PROMPT),
								 .chip = evn_system_chip(d->p->system, device),
								 .driver = evn_system_platform(d->p->system, device),
								 .device = d->o->n_devices ? 0 : (int)device + 1,
								 .parts = d->layouts[i].n};
	}
	return EVN_OK;
}

/* What no measuring can change is refused before the wait for it. */
static evn_status refuse_early(decision *d)
{
	double shares[EVN_MAX_RANKS], sum = 0;
	uint64_t memory[EVN_MAX_RANKS];
	evn_split trial = {0};
	for (uint32_t i = 0; i < d->n_candidates; i++) {
		shares[i] = d->candidates[i].share < 0 ? 1 : d->candidates[i].share;
		sum += shares[i];
		if (d->o->reduce == EVN_REDUCE_EVENTS && d->candidates[i].driver != d->candidates[0].driver)
			return evn_fail(d->err, EVN_ERR_USAGE,
							"reduce: events needs all devices on one platform, %s and %s are not", d->layouts[0].name,
							d->layouts[i].name);
	}
	if (sum <= 0 && !d->p->cluster)
		return evn_fail(d->err, EVN_ERR_USAGE, "shares: every device has share 0, one at least must be above it");
	if (d->p->cluster) /* other nodes have memory, too */
		return EVN_OK;
	evn_plan_memory(memory, &d->p->shape, d->candidates, shares, d->n_candidates);
	evn_status s = evn_split_make(&trial, &d->p->shape, d->n_candidates, shares, NULL, memory, d->err);
	evn_split_free(&trial);
	return s;
}

/* ---- rates --------------------------------------------------------------------------------------------------------
 */

/* A token that is learned takes three products where one that is read takes one. */
static evn_rates rates_of(const decision *d, const evn_rank_profile *r)
{
	evn_rates rates = evn_profile_rates(r);
	if (d->profile_options.workload.purpose == EVN_FOR_TRAINING)
		rates.gemm_gflops = r->training_gflops / 3;
	return rates;
}

/* Ranks that are equal parts of one device: their mean. */
static void use_rates(const decision *d, evn_plan_candidate *c, const evn_rank_profile *ranks, uint32_t n)
{
	evn_rates sum = {0};
	for (uint32_t i = 0; i < n; i++) {
		evn_rates r = rates_of(d, &ranks[i]);
		evn_rates_add(&sum, &r);
	}
	c->rates = evn_rates_scaled(sum, 1.0 / n);
}

static const char *fault_of(const decision *d, uint32_t i)
{
	for (uint32_t k = 0; k < d->layouts[i].n; k++)
		if (d->profiles[i].ranks[k].fault[0])
			return d->profiles[i].ranks[k].fault;
	return NULL;
}

/* A device's parts take what is measured alone only from the whole device. */
static void complete_parts(decision *d, uint32_t i)
{
	const evn_rank_profile *whole[EVN_MAX_RANKS] = {NULL};
	for (uint32_t k = 0; k < i; k++)
		if (d->layouts[k].n == 1 && d->candidates[k].device == d->candidates[i].device)
			for (uint32_t part = 0; part < d->layouts[i].n; part++)
				whole[part] = &d->profiles[k].ranks[0];
	if (whole[0] && !fault_of(d, i))
		evn_profile_complete(&d->profiles[i], whole, d->layouts[i].n);
}

/* An earlier candidate that is as many units of the same device, and so as fast; NULL: none. */
static const evn_profile *known_alike(const decision *d, uint32_t i)
{
	for (uint32_t k = 0; k < i; k++)
		if (d->layouts[k].n == 1 && d->layouts[i].n == 1 &&
			evn_picks_alike(&d->layouts[k].picks[0], &d->layouts[i].picks[0]))
			return &d->profiles[k];
	return NULL;
}

static bool share_device(const decision *d, uint32_t i, uint32_t k)
{
	return evn_same_device(&d->candidates[i], &d->candidates[k]);
}

/* Thoroughly, in turn: candidate i and those after it that are other layouts of its device. Only one of them can be
 * chosen. */
static evn_status compare_layouts(decision *d, uint32_t i)
{
	evn_profile_request requests[EVN_MAX_CANDIDATES];
	uint32_t n = 0;
	for (uint32_t k = i; k < d->n_candidates; k++)
		if (k == i || share_device(d, i, k))
			requests[n++] = (evn_profile_request){&d->profiles[k], d->layouts[k].picks, d->layouts[k].n};
	return evn_profiles_get(requests, n, d->p->system, d->m, &d->profile_options, d->err);
}

/* A candidate before i can run the model. The user does not wait long for others then. */
static bool can_run_on(const decision *d, uint32_t i)
{
	for (uint32_t k = 0; k < i; k++)
		if (d->profiles[k].ranks[0].gemv_gbs > 0 && !fault_of(d, k) && !d->o->n_devices)
			return true;
	return false;
}

/* The first plan of a machine is made from trials of whole devices. Other layouts take part once they were compared.
 */
static evn_status try_candidate(decision *d, uint32_t i)
{
	const evn_layout *l = &d->layouts[i];
	evn_profile_options known = d->profile_options;
	known.measuring = EVN_MEASURE_NOTHING;
	if (l->n > 1) {
		EVN_TRY(evn_profile_get(&d->profiles[i], d->p->system, l->picks, l->n, d->m, &known, d->err));
		if (!d->profiles[i].measured.thorough) { /* such as a trial of this layout when it was asked for by name */
			d->profiles[i] = (evn_profile){0};
			snprintf(d->profiles[i].ranks[0].fault, sizeof d->profiles[i].ranks[0].fault,
					 "not compared with the whole device yet (--measure does)");
			return EVN_OK;
		}
	}
	evn_profile_options trial = d->profile_options;
	trial.limit_s = can_run_on(d, i) ? TRIAL_S : 0;
	return evn_profile_get(&d->profiles[i], d->p->system, l->picks, l->n, d->m, &trial, d->err);
}

/* An earlier candidate is another layout of the device of candidate i. */
static bool is_measured(const decision *d, uint32_t i)
{
	for (uint32_t k = 0; k < i; k++)
		if (share_device(d, i, k))
			return true;
	return false;
}

static evn_status measure_apart(decision *d)
{
	for (uint32_t i = 0; i < d->n_candidates; i++) {
		const evn_layout *l = &d->layouts[i];
		const evn_profile *known = known_alike(d, i);
		const char *lost = why_lost(d->p, evn_system_info(d->p->system, l->picks[0].device)->id);
		if (lost)
			snprintf(d->profiles[i].ranks[0].fault, sizeof d->profiles[i].ranks[0].fault, "%.250s", lost);
		else if (known)
			d->profiles[i] = *known;
		else if (d->profile_options.measuring != EVN_MEASURE_THOROUGH)
			EVN_TRY(try_candidate(d, i));
		else if (!is_measured(d, i))
			EVN_TRY(compare_layouts(d, i));
		if (l->n > 1)
			complete_parts(d, i);
		use_rates(d, &d->candidates[i], d->profiles[i].ranks, l->n);
		evn_profile_reduce(&d->profiles[i], d->o->reduce, &d->candidates[i].reduce_cost);
	}
	return EVN_OK;
}

/* The chosen ranks, measured running together. */
static evn_status measure_together(decision *d)
{
	evn_prepared *p = d->p;
	const evn_rank_profile *apart[EVN_MAX_RANKS];
	uint32_t n_taken = 0, last = 0, k = 0;
	for (uint32_t i = 0; i < d->n_candidates; i++) {
		if (!d->choice.taken[i])
			continue;
		if (fault_of(d, i))
			return evn_fail(d->err, EVN_ERR_DEVICE, "%s: %s", d->layouts[i].name, fault_of(d, i));
		for (uint32_t part = 0; part < d->layouts[i].n; part++)
			apart[k++] = &d->profiles[i].ranks[part];
		n_taken++;
		last = i;
	}
	if (n_taken == 1) {
		p->profile = d->profiles[last];
		return EVN_OK;
	}
	EVN_TRY(evn_profile_get(&p->profile, p->system, p->picks, p->n, d->m, &d->profile_options, d->err));
	evn_profile_complete(&p->profile, apart, p->n);
	return EVN_OK;
}

/* ---- who takes part
 * ------------------------------------------------------------------------------------------------ */

/* The ranks of the candidates that are taken. */
static void collect_picks(decision *d)
{
	d->p->n = 0;
	for (uint32_t i = 0; i < d->n_candidates; i++)
		for (uint32_t part = 0; d->choice.taken[i] && part < d->layouts[i].n; part++)
			d->p->picks[d->p->n++] = d->layouts[i].picks[part];
}

static void choose_all(decision *d)
{
	for (uint32_t i = 0; i < d->n_candidates; i++)
		d->choice.taken[i] = true;
	collect_picks(d);
}

/* Faulty devices cannot be chosen: their rate is 0. The reason is theirs, not the planner's. */
static void explain_faults(decision *d)
{
	for (uint32_t i = 0; i < d->n_candidates; i++)
		if (fault_of(d, i))
			snprintf(d->choice.reason[i], sizeof d->choice.reason[i], "%.200s", fault_of(d, i));
}

static evn_phase chosen_by(const decision *d)
{
	const bool decodes = d->profile_options.workload.purpose == EVN_FOR_TEXT && !d->p->graph->encodes;
	return decodes ? EVN_DECODE : EVN_PROMPT;
}

static evn_plan_candidate any_memory(evn_plan_candidate c)
{
	c.memory_bytes = UINT64_MAX;
	c.host_bytes = 0;
	return c;
}

/* A node chooses by speed alone, because other nodes have memory, too. */
static evn_status choose(decision *d, evn_reduce_cost cost)
{
	evn_plan_candidate candidates[EVN_MAX_CANDIDATES];
	memcpy(candidates, d->candidates, sizeof candidates);
	for (uint32_t i = 0; i < d->n_candidates && d->p->cluster; i++)
		candidates[i] = any_memory(candidates[i]);
	EVN_TRY(evn_plan_choose(&d->choice, &d->p->shape, candidates, d->n_candidates, chosen_by(d), cost, d->err));
	explain_faults(d);
	collect_picks(d);
	return EVN_OK;
}

/* What devices do alone promises too much where they share memory or cores. So a set is measured together, and if the
 * figures no longer speak for it, the planner chooses again with them. */
static evn_status choose_and_measure(decision *d)
{
	evn_reduce_cost cost = {0};
	EVN_TRY(choose(d, cost));
	EVN_TRY(measure_together(d));
	if (d->p->n == 1)
		return EVN_OK;
	for (uint32_t i = 0, k = 0; i < d->n_candidates; i++)
		if (d->choice.taken[i]) {
			use_rates(d, &d->candidates[i], &d->p->profile.ranks[k], d->layouts[i].n);
			k += d->layouts[i].n;
		}
	evn_profile_reduce(&d->p->profile, d->o->reduce, &cost);
	const evn_choice before = d->choice;
	EVN_TRY(choose(d, cost));
	return memcmp(before.taken, d->choice.taken, sizeof before.taken) ? measure_together(d) : EVN_OK;
}

/* Alone, a device holds everything. */
static void find_best_alone(decision *d)
{
	evn_choice best;
	for (uint32_t i = 0; i < d->n_candidates; i++) {
		use_rates(d, &d->candidates[i], d->profiles[i].ranks, d->layouts[i].n);
		d->candidates[i].share = d->candidates[i].prompt_share = EVN_SHARE_AUTO;
	}
	if (evn_plan_choose(&best, &d->p->shape, d->candidates, d->n_candidates, chosen_by(d), (evn_reduce_cost){0},
						NULL) != EVN_OK)
		best = d->choice;
	evn_best_alone *alone = &d->p->best_alone;
	snprintf(alone->name, sizeof alone->name, "%s", d->layouts[best.best_single].name);
	alone->predicted = best.best_single_predicted;
}

/* The ranks of the layouts that are taken, with their rates. */
static void collect_ranks(decision *d)
{
	evn_prepared *p = d->p;
	p->end = p->n;
	for (uint32_t i = 0, k = 0; i < d->n_candidates; i++)
		for (uint32_t part = 0; d->choice.taken[i] && part < d->layouts[i].n; part++, k++) {
			const evn_device_info *info = evn_system_info(p->system, p->picks[k].device);
			p->ranks[k] = d->candidates[i];
			p->ranks[k].name = p->ranks[k].id = NULL; /* they go with the decision */
			use_rates(d, &p->ranks[k], &p->profile.ranks[k], 1);
			evn_rank_device *device = &p->devices[k];
			device->is_cpu = !strcmp(info->type, "cpu");
			device->max_alloc_bytes = info->max_alloc_bytes;
			evn_pick_name(p->system, &p->picks[k], device->id, sizeof device->id);
			snprintf(device->name, sizeof device->name, "%s", info->name);
		}
	if (p->cluster) /* node 0 makes the plan, and does not know which ranks share a host */
		evn_divide_host_evenly(p->ranks, p->n);
}

/* ---- the plan ---------------------------------------------------------------------------------------------------
 */

static evn_status describe(decision *d)
{
	evn_prepared *p = d->p;
	evn_reduce_cost cost = {0};
	const bool joined = p->cluster && !evn_nodes_are_apart(p);
	const evn_reduce asked = joined ? EVN_REDUCE_HOST : d->o->reduce;
	p->reduce = p->end - p->begin > 1 ? evn_profile_reduce(&p->profile, asked, &cost) : EVN_REDUCE_AUTO;
	if (joined) {
		cost.token_us += p->exchange.token_us;
		cost.prompt_us += p->exchange.prompt_us;
	}
	evn_plan_summary s = {.split = &p->split,
						  .devices = p->devices,
						  .ranks = p->ranks,
						  .profile = &p->profile,
						  .predicted = evn_nodes_are_apart(p) ? evn_stages_predict(p, cost)
															  : evn_predict(&p->split, p->ranks, cost),
						  .graph = p->graph,
						  .best_single = p->best_alone.name,
						  .best_single_predicted = p->best_alone.predicted,
						  .reduce = joined ? "nodes" : evn_reduce_name(p->reduce),
						  .all_reduce_us = cost.token_us,
						  .cluster_split = !p->cluster              ? NULL
										   : evn_nodes_are_apart(p) ? "pipeline"
																	: "tensor"};
	for (uint32_t i = 0; i < d->n_candidates; i++)
		if (!d->choice.taken[i]) {
			s.dropped[s.n_dropped] = d->layouts[i].name;
			s.reasons[s.n_dropped++] = d->choice.reason[i];
		}
	return evn_plan_describe(&p->plan, &s, d->err);
}

static void share_cores(const evn_options *o)
{
	const char *items[EVN_MAX_RANKS];
	for (size_t i = 0; i < o->n_devices && i < EVN_MAX_RANKS; i++)
		items[i] = o->devices[i].match;
	if (o->n_devices && o->n_devices <= EVN_MAX_RANKS)
		evn_share_cores(items, o->n_devices);
}

/* Devices that turned out to be faulty hold nothing. */
static evn_status fit_sound_devices(decision *d)
{
	evn_plan_candidate sound[EVN_MAX_CANDIDATES];
	uint32_t n = 0;
	for (uint32_t i = 0; i < d->n_candidates; i++)
		if (!fault_of(d, i))
			sound[n++] = d->candidates[i];
	return n == d->n_candidates || !n || d->p->cluster ? EVN_OK : evn_fit_context(d->p, d->o, sound, n, d->err);
}

/* This process's ranks, with their rates. */
static evn_status choose_ranks(decision *d)
{
	EVN_TRY(evn_prepare_shape(d->p, d->m, d->o, d->err));
	uint64_t began = evn_now_ns();
	share_cores(d->o);
	EVN_TRY(evn_system_open(&d->p->system, d->err));
	evn_log_took(began, "%zu devices found", evn_system_count(d->p->system));
	began = evn_now_ns();
	EVN_TRY(d->o->n_devices ? list_asked(d) : list_all(d));
	EVN_TRY(make_candidates(d));
	if (!d->p->cluster)
		EVN_TRY(evn_fit_context(d->p, d->o, d->candidates, d->n_candidates, d->err));
	if (d->o->n_devices)
		EVN_TRY(refuse_early(d));
	EVN_TRY(measure_apart(d));
	EVN_TRY(fit_sound_devices(d));
	if (d->o->n_devices) {
		choose_all(d);
		EVN_TRY(measure_together(d));
	} else {
		EVN_TRY(choose_and_measure(d));
	}
	evn_log_took(began, "profiles of %u candidates read or measured", d->n_candidates);
	collect_ranks(d);
	find_best_alone(d);
	return EVN_OK;
}

/* Over nodes, each node chooses its ranks, and node 0 splits the model over all of them. */
static evn_status decide(decision *d)
{
	evn_prepared *p = d->p;
	evn_cluster *cluster = p->cluster = d->o->cluster;
	evn_options agreed = *d->o;
	if (cluster)
		EVN_TRY(evn_cluster_compare(cluster, d->m, &agreed, d->profile_options.workload.purpose, d->err));
	d->o = &agreed;
	p->stages.split = cluster ? (evn_cluster_split)agreed.cluster_split : EVN_CLUSTER_AUTO;
	evn_status s = choose_ranks(d);
	if (cluster)
		s = evn_cluster_collect_ranks(cluster, p, s, d->err);
	if (s == EVN_OK && (!cluster || evn_cluster_node(cluster) == 0))
		s = evn_prepare_ranges(p, d->err);
	if (cluster)
		s = evn_cluster_share_split(cluster, p, s, d->err);
	return s == EVN_OK ? describe(d) : s;
}

evn_status evn_prepare_with(evn_prepared *out, const evn_model *m, const evn_options *o, evn_purpose purpose,
							evn_error *err)
{
	decision *d = calloc(1, sizeof *d);
	if (!d)
		return evn_fail_memory(err, "plan", sizeof *d);
	d->p = out;
	d->m = m;
	d->o = o;
	d->err = err;
	d->profile_options = (evn_profile_options){.measuring = o->measure ? EVN_MEASURE_THOROUGH : EVN_MEASURE_NEEDED,
											   .workload = {purpose, o->activations, o->kv_cache},
											   .progress = o->progress,
											   .progress_user = o->progress_user};
	evn_status s = decide(d);
	free(d);
	return s;
}

evn_status evn_prepare(evn_prepared *out, const evn_model *m, const evn_options *o, evn_purpose purpose,
					   evn_error *err)
{
	*out = (evn_prepared){0};
	return evn_prepare_with(out, m, o, purpose, err);
}

evn_status evn_plan_make(evn_plan **out, const evn_model *m, const evn_options *o, evn_error *err)
{
	evn_prepared p;
	evn_status s = evn_prepare(&p, m, o, EVN_FOR_TEXT, err);
	*out = s == EVN_OK ? p.plan : NULL;
	if (s == EVN_OK)
		p.plan = NULL; /* now the caller's */
	evn_prepared_free(&p);
	return s;
}
