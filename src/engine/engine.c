/* engine.c - a model loaded on its ranks. */
#include "engine/follow.h"
#include "engine/pipeline.h"
#include "engine/rebalance.h"
#include "engine/stages.h"
#include "evener/tune.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
	evn_engine *e;
	evn_load_progress progress;
	uint64_t total_bytes;
} loading;

/* In a pipeline of nodes rows go through this node's blocks only. */
static void narrow_view(const evn_engine *e, uint32_t rank)
{
	if (!evn_nodes_are_apart(&e->prepared))
		return;
	e->ranks[rank].view->blocks = e->prepared.stages.blocks[evn_nodes_index(e->prepared.nodes.nodes)];
}

static evn_status load_rank(void *arg, uint32_t rank, evn_error *err)
{
	loading *l = arg;
	evn_engine *e = l->e;
	evn_rank *r = &e->ranks[rank];
	const evn_rank_profile *profile = &e->prepared.profile.ranks[rank];
	uint64_t began = evn_now_ns();
	evn_limits limits = e->prepared.limits;
	limits.dot = profile->dot;
	evn_device_set_lanes(r->device, evn_dot_lanes(profile->dot));
	const evn_shard_part part = {.split = &e->prepared.split, .rank = rank, .progress = &l->progress};
	EVN_TRY(evn_shard_load(&r->shard, r->queue, e->prepared.graph, &part, err));
	EVN_TRY(evn_view_make(&r->view, r->shard, &e->prepared.split, rank, err));
	narrow_view(e, rank);
	EVN_TRY(evn_workspace_create(&r->workspace, r->queue, r->shard, limits, err));
	EVN_TRY(evn_cache_create(&r->cache, r->queue, r->shard, limits.kv_cache, e->pool.n_blocks, err));
	EVN_TRY(evn_cache_grow_states(r->cache, r->queue, e->pool.n_states, err));
	evn_ops_set_gemm(r->workspace->ops, profile->gemm);
	evn_ops_set_block_cost(r->workspace->ops, profile->block_cost);
	evn_log_took(began, "%s: weights and programs (those %.3f s)", evn_device_id(r->device),
				 evn_device_build_s(r->device));
	return EVN_OK;
}

static void show_loading(void *arg)
{
	loading *l = arg;
	const evn_options *o = &l->e->options;
	if (o->progress &&
		!o->progress(o->progress_user, "loading", atomic_load(&l->progress.done_bytes), l->total_bytes))
		atomic_store(&l->progress.stop, true);
}

static void release_waiting(void *arg)
{
	evn_engine *e = arg;
	evn_comm_cancel(e->comm);
}

static bool find_fault(void *arg, evn_fault *out)
{
	evn_engine *e = arg;
	return evn_comm_find_fault(e->comm, out);
}

static evn_status run_on(evn_engine *e, uint64_t ranks, evn_rank_fn fn, void *arg, void (*tick)(void *),
						 void *tick_arg, evn_error *err)
{
	evn_status s = evn_team_run_on(e->team, ranks, fn, arg, tick, tick_arg, err);
	if (s != EVN_OK && !evn_team_abandoned(e->team))
		evn_comm_reset(e->comm, NULL);
	return s;
}

evn_status evn_engine_run(evn_engine *e, evn_rank_fn fn, void *arg, void (*tick)(void *), void *tick_arg,
						  evn_error *err)
{
	return run_on(e, UINT64_MAX, fn, arg, tick, tick_arg, err);
}

evn_status evn_engine_run_part(evn_engine *e, evn_rank_fn fn, void *arg, void (*tick)(void *), void *tick_arg,
							   evn_error *err)
{
	return run_on(e, e->taking_part, fn, arg, tick, tick_arg, err);
}

/* Over nodes all ranks take part, in a pipeline those of this node. */
void evn_engine_take_part(evn_engine *e, bool all)
{
	e->taking_part = all || e->prepared.cluster ? UINT64_MAX : evn_split_workers(&e->prepared.split);
	e->taking_part &= UINT64_MAX >> (64 - e->n_ranks);
	if (evn_nodes_are_apart(&e->prepared))
		e->taking_part = evn_comm_ranks_from(e->begin, e->end);
	evn_comm_take_part(e->comm, e->taking_part);
}

static uint64_t longest_message(const evn_engine *e)
{
	return evn_message_floats(evn_model_hparams(e->model), e->prepared.limits.n_batch);
}

static evn_status open_ranks(evn_engine *e, evn_error *err)
{
	evn_device *devices[EVN_MAX_RANKS];
	evn_queue *queues[EVN_MAX_RANKS];
	e->n_ranks = e->prepared.n;
	e->begin = e->prepared.begin;
	e->end = e->prepared.end;
	EVN_TRY(evn_devices_open(e->prepared.system, e->prepared.picks + e->begin, e->end - e->begin, devices + e->begin,
							 err));
	for (uint32_t i = e->begin; i < e->end; i++)
		e->ranks[i].device = devices[i];
	for (uint32_t i = e->begin; i < e->end && e->prepared.profile.is_fresh;
		 i++) /* else at the end the user would wait */
		evn_device_build_throwaway(devices[i], evn_device_slow_binaries(devices[i]));
	for (uint32_t i = e->begin; i < e->end; i++) {
		EVN_TRY((e->n_ranks > 1 ? evn_queue_create : evn_queue_create_untimed)(&e->ranks[i].queue, devices[i], err));
		queues[i] = e->ranks[i].queue;
	}
	const evn_comm_config config = {.queues = queues,
									.n_ranks = e->n_ranks,
									.reduce = e->prepared.reduce,
									.flags_later =
										e->options.reduce == EVN_REDUCE_AUTO && e->prepared.profile.flags_us > 0,
									.messages = e->options.messages,
									.deadline_ms = e->options.deadline_s * 1000,
									.nodes = &e->prepared.nodes,
									.max_floats = longest_message(e)};
	EVN_TRY(evn_comm_create(&e->comm, &config, err));
	return evn_team_create(&e->team,
						   &(evn_team_config){.n_ranks = e->end - e->begin,
											  .first_rank = e->begin,
											  .on_failure = release_waiting,
											  .find_fault = find_fault,
											  .arg = e},
						   err);
}

static evn_status load_own(evn_engine *e, evn_error *err)
{
	uint64_t began = evn_now_ns();
	EVN_TRY(open_ranks(e, err));
	evn_log_took(began, "contexts, queues and communicator of %u ranks", e->n_ranks);
	EVN_TRY(evn_embedding_find(&e->embedding, e->prepared.graph, err));
	EVN_TRY(evn_pipeline_create(&e->pipeline, e, err));
	const uint32_t n_blocks = evn_blocks_for(e->prepared.limits.n_cache);
	EVN_TRY(evn_pool_grow(&e->pool, n_blocks > e->pool.n_blocks ? n_blocks : e->pool.n_blocks, err));
	if (e->prepared.graph->has_states)
		EVN_TRY(evn_pool_grow_states(&e->pool, evn_states_for(e->prepared.limits.n_cache, e->prepared.limits.n_ctx),
									 err));
	loading l = {.e = e};
	for (uint32_t i = e->begin; i < e->end; i++)
		l.total_bytes += evn_split_bytes(&e->prepared.split, i);
	EVN_TRY(evn_engine_run(e, load_rank, &l, show_loading, &l, err));
	show_loading(&l);
	e->finds_top = e->prepared.cluster; /* false: a device that had its own memory may be gone */
	for (uint32_t i = 0; i < e->n_ranks; i++) {
		e->finds_top |= e->ranks[i].workspace && e->ranks[i].workspace->finds_top;
		e->shares[i] = evn_split_share(&e->prepared.split, i, EVN_DECODE);
	}
	evn_engine_take_part(e, false);
	return atomic_load(&l.progress.stop) ? evn_fail(err, EVN_ERR_CANCELLED, "loading was stopped") : EVN_OK;
}

static evn_status load(evn_engine *e, evn_error *err)
{
	EVN_TRY(evn_follow_loaded(e, load_own(e, err), err));
	atomic_store(&e->shown, e->prepared.plan);
	return evn_rebalance_create(&e->rebalance, e, err);
}

/* ---- the end of ranks --------------------------------------------------------------------------------------------
 */

static void free_weights(evn_rank *r)
{
	evn_cache_free(r->cache);
	evn_workspace_free(r->workspace);
	evn_view_free(r->view);
	evn_shard_free(r->shard);
}

/* A device hangs. What its thread or a waiting one may still use must stay: the team, the communicator, the queues,
 * and the buffers of a rank whose thread is somewhere in the middle of its work. A thread that waits for its device
 * only looks whether the step was cancelled, so the weights and the cache of its rank can go. */
static void abandon_ranks(evn_engine *e, bool team_is_there)
{
	for (uint32_t i = e->begin; i < e->end; i++) {
		const bool idle = !team_is_there || evn_team_has_returned(e->team, i) || evn_comm_waits(e->comm, i);
		if (!idle)
			continue;
		evn_cache_free(e->ranks[i].cache);
		evn_shard_free(e->ranks[i].shard);
	}
	e->n_abandoned++;
}

/* Frees what the ranks have, or abandons it if a device hangs. */
static void end_ranks(evn_engine *e)
{
	const bool ended = evn_team_free(e->team), finished = ended && evn_comm_free(e->comm);
	evn_rebalance_free(e->rebalance, !finished);
	if (!finished) {
		abandon_ranks(e, !ended);
	} else {
		for (uint32_t i = 0; i < e->n_ranks; i++)
			free_weights(&e->ranks[i]);
		for (uint32_t i = 0; i < e->n_ranks; i++)
			evn_queue_free(e->ranks[i].queue);
		for (uint32_t i = 0; i < e->n_ranks; i++)
			evn_device_close(e->ranks[i].device);
	}
	e->rebalance = NULL;
	e->team = NULL;
	e->comm = NULL;
	e->n_ranks = e->begin = e->end = 0;
	memset(e->ranks, 0, sizeof e->ranks);
}

void evn_engine_close(evn_engine *e)
{
	if (!e)
		return;
	evn_lead_end(e);
	evn_following_free(e->following);
	evn_pipeline_free(e->pipeline);
	end_ranks(e);
	evn_pool_free(&e->pool);
	evn_prepared_free(&e->prepared);
	free(e->tracing);
	pthread_mutex_destroy(&e->lock);
	pthread_mutex_destroy(&e->events.lock);
	free(e);
}

/* ---- going on without a rank -------------------------------------------------------------------------------------
 */

static bool is_of_device(evn_status s) { return s == EVN_ERR_DEVICE || s == EVN_ERR_LIMIT || s == EVN_ERR_BUILD; }

static evn_status replace_ranks(evn_engine *e, evn_prepared *next, evn_error *err)
{
	end_ranks(e);
	evn_prepared_free(&e->prepared);
	e->prepared = *next;
	e->n_recoveries++;
	return load(e, err);
}

/* The next plan after a fault: a device whose memory is full gets a smaller share, another one is left out. */
static evn_status plan_after(evn_prepared *next, evn_engine *e, const evn_fault *fault, evn_error *err)
{
	if (fault->status == EVN_ERR_LIMIT &&
		evn_prepare_smaller(next, &e->prepared, &e->options, fault->rank, err) == EVN_OK) {
		evn_engine_note(e, EVN_LOG_WARN, "%s; this device gets a smaller share", fault->err.text);
		return EVN_OK;
	}
	if (fault->status == EVN_ERR_LIMIT)
		evn_prepared_free(next);
	evn_engine_note(e, EVN_LOG_WARN, "%s; going on without this device", fault->err.text);
	return evn_prepare_without(next, &e->prepared, &e->options, fault->rank, fault->err.text, err);
}

/* Also while the engine is opened: a device that fails, or whose memory is full, when weights are loaded. */
static bool go_on_without_fault(evn_engine *e, evn_error *why)
{
	evn_status status = EVN_ERR_DEVICE;
	if (e->prepared.cluster) /* other nodes may be in the middle of a step */
		return false;
	while (status != EVN_OK) {
		if (!e->team || !is_of_device(evn_team_fault(e->team)->status))
			return false;
		const evn_fault fault = *evn_team_fault(e->team);
		evn_prepared next;
		evn_error err = {0};
		status = plan_after(&next, e, &fault, &err);
		if (status != EVN_OK) {
			evn_prepared_free(&next);
			evn_fail(why, EVN_ERR_DEVICE, "%.300s; it cannot be replaced: %.180s", fault.err.text, err.text);
			e->dead = *why;
			atomic_store(&e->is_dead, true);
			evn_engine_note(e, EVN_LOG_ERROR, "no device is left: %s", why->text);
			return false;
		}
		status = replace_ranks(e, &next, &err);
		if (status != EVN_OK)
			*why = err;
	}
	return true;
}

bool evn_engine_recover(evn_engine *e, evn_error *why)
{
	e->options.progress = NULL; /* nobody waits for it in this thread */
	return go_on_without_fault(e, why);
}

/* ---- opening ----------------------------------------------------------------------------------------------------
 */

evn_status evn_engine_open(evn_engine **out, const evn_model *m, const evn_options *o, evn_error *err)
{
	*out = NULL;
	evn_prepared p;
	evn_status s = evn_prepare(&p, m, o, EVN_FOR_TEXT, err);
	if (s != EVN_OK) {
		evn_prepared_free(&p);
		return s;
	}
	return evn_engine_open_prepared(out, m, o, &p, err);
}

evn_status evn_engine_open_prepared(evn_engine **out, const evn_model *m, const evn_options *o, evn_prepared *p,
									evn_error *err)
{
	*out = NULL;
	evn_engine *e = calloc(1, sizeof *e);
	if (!e) {
		evn_prepared_free(p);
		return evn_fail_memory(err, "engine", sizeof *e);
	}
	e->model = m;
	e->options = *o;
	e->prepared = *p;
	*p = (evn_prepared){0};
	pthread_mutex_init(&e->lock, NULL);
	pthread_mutex_init(&e->events.lock, NULL);
	e->events.began_s = evn_now_s();
	evn_error why = {0};
	const evn_status s = load(e, &why);
	if (s != EVN_OK && !go_on_without_fault(e, &why)) {
		evn_engine_close(e);
		return evn_fail(err, s, "%s", why.text);
	}
	*out = e;
	return EVN_OK;
}

evn_rank_stats evn_engine_rank_stats(const evn_engine *e, uint32_t rank, evn_comm_times before, uint64_t bytes_read)
{
	const evn_comm_times now = evn_comm_rank_times(e->comm, rank);
	const double busy_s = (double)(now.busy_ns - before.busy_ns) * 1e-9;
	return (evn_rank_stats){.busy_s = busy_s,
							.wait_s = (double)(now.wait_ns - before.wait_ns) * 1e-9,
							.gbs = busy_s > 0 ? (double)bytes_read * 1e-9 / busy_s : 0,
							.share = e->shares[rank]};
}

bool evn_engine_works(const evn_engine *e) { return !atomic_load(&e->is_dead); }

const evn_plan_info *evn_engine_plan(const evn_engine *e) { return evn_plan_get(atomic_load(&e->shown)); }
uint32_t evn_engine_context(const evn_engine *e) { return e->prepared.limits.n_ctx; }

typedef struct {
	evn_engine *e;
	uint64_t n_floats;
	uint32_t n;
	double *us; /* (n) written by rank 0 */
} reducing;

static evn_status reduce_often(void *arg, uint32_t rank, evn_error *err)
{
	reducing *r = arg;
	return evn_comm_time_all_reduce(r->e->comm, rank, r->n_floats, r->n, rank == 0 ? r->us : NULL, err);
}

evn_status evn_engine_run_timing(evn_engine *e, uint64_t n_floats, uint32_t n, double *us, evn_error *err)
{
	reducing r = {.e = e, .n_floats = n_floats, .n = n, .us = us};
	EVN_TRY(evn_lead_timing(e, n_floats, n, err));
	evn_engine_take_part(e, true);
	const evn_status s = evn_engine_run(e, reduce_often, &r, NULL, NULL, err);
	evn_engine_take_part(e, false);
	return s;
}

evn_status evn_engine_measure_all_reduce(evn_engine *e, uint64_t bytes, uint32_t n, double *us, evn_error *err)
{
	*us = 0;
	if (e->n_ranks <= 1 || n == 0 || e->pipeline)
		return EVN_OK;
	uint64_t longest = longest_message(e);
	uint64_t n_floats = bytes ? (bytes + sizeof(float) - 1) / sizeof(float) : evn_model_hparams(e->model)->dim;
	if (n_floats > longest)
		return evn_fail(err, EVN_ERR_LIMIT, "all_reduce: a message of %llu bytes, the longest here has %llu",
						(unsigned long long)bytes, (unsigned long long)(longest * sizeof(float)));
	double *all = malloc(n * sizeof *all);
	if (!all)
		return evn_fail_memory(err, "times", n * sizeof *all);
	pthread_mutex_lock(&e->lock);
	evn_status s = evn_engine_run_timing(e, evn_round_up(n_floats, EVN_PAD), n, all, err);
	if (s == EVN_OK)
		*us = evn_median(all, n);
	pthread_mutex_unlock(&e->lock);
	free(all);
	return s;
}

evn_status evn_engine_time_kernels(evn_engine *e, bool on, evn_error *err)
{
	evn_status s = EVN_OK;
	pthread_mutex_lock(&e->lock);
	for (uint32_t i = e->begin; i < e->end && s == EVN_OK; i++)
		s = evn_queue_time_kernels(e->ranks[i].queue, on, err);
	pthread_mutex_unlock(&e->lock);
	return s;
}

typedef struct {
	size_t rank;
	void (*each)(void *user, const evn_kernel_time *t);
	void *user;
} kernel_listener;

static void tell_kernel(void *user, const evn_kernel_sum *t)
{
	const kernel_listener *l = user;
	l->each(l->user, &(evn_kernel_time){l->rank, t->kernel, t->launches, (double)t->ns * 1e-3});
}

void evn_engine_kernel_times(const evn_engine *e, void (*each)(void *user, const evn_kernel_time *t), void *user)
{
	for (uint32_t i = e->begin; i < e->end; i++)
		evn_queue_kernel_times(e->ranks[i].queue, tell_kernel, &(kernel_listener){i, each, user});
}
