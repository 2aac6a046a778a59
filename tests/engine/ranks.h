/* ranks.h - the ranks of an engine, without an engine. For tests that decide themselves how a model is cut and what a
 * step computes. */
#ifndef EVN_TEST_RANKS_H
#define EVN_TEST_RANKS_H

#include "engine/harness.h"

#include "group/team.h"
#include "nn/embed.h"
#include "nn/shape.h"
#include "nn/walk.h"

typedef struct {
	uint32_t n;
	evn_graph *graph;
	evn_limits limits;
	evn_plan_shape shape;
	evn_split split;
	bool gemm;         /* prompts use GEMM */
	uint32_t n_layers; /* only the first layers; 0: all */
	evn_device *devices[EVN_MAX_RANKS];
	evn_queue *queues[EVN_MAX_RANKS];
	evn_shard *shards[EVN_MAX_RANKS];
	evn_view *views[EVN_MAX_RANKS];
	evn_workspace *workspaces[EVN_MAX_RANKS];
	evn_cache *caches[EVN_MAX_RANKS];
	evn_comm *comm;
	evn_team *team;
	evn_block_pool pool;
	const evn_batch *batch; /* of the running step */
} ranks;

static inline void ranks_cancel(void *arg) { evn_comm_cancel(((ranks *)arg)->comm); }

static inline evn_status ranks_load(void *arg, uint32_t rank, evn_error *err)
{
	ranks *r = arg;
	evn_queue *q = r->queues[rank];
	const evn_shard_part part = {.split = &r->split, .rank = rank};
	EVN_TRY(evn_shard_load(&r->shards[rank], q, r->graph, &part, err));
	EVN_TRY(evn_view_make(&r->views[rank], r->shards[rank], &r->split, rank, err));
	EVN_TRY(evn_workspace_create(&r->workspaces[rank], q, r->shards[rank], r->limits, err));
	evn_ops_set_gemm(r->workspaces[rank]->ops, r->gemm);
	EVN_TRY(evn_cache_create(&r->caches[rank], q, r->shards[rank], r->limits.kv_cache, r->pool.n_blocks, err));
	return evn_cache_grow_states(r->caches[rank], q, r->pool.n_states, err);
}

static inline evn_status ranks_walk(void *arg, uint32_t rank, evn_error *err)
{
	ranks *r = arg;
	const evn_walker w = {
		.view = r->views[rank], .workspace = r->workspaces[rank], .cache = r->caches[rank], .comm = r->comm};
	return evn_walk(&w, r->batch, err);
}

/* Opens queues on the devices that `items` names, with commas between the names. Their programs are not saved,
 * because no other test runs these kernels. */
static inline void ranks_open_devices(ranks *r, const evn_system *drivers, const char *items)
{
	evn_error err = {0};
	evn_pick picks[EVN_MAX_RANKS];
	char list[128], *rest = list;
	size_t n = 0;
	snprintf(list, sizeof list, "%s", items);
	for (char *item; (item = strsep(&rest, ","));)
		require_ok(evn_system_select(drivers, item, 0, picks, &n, EVN_MAX_RANKS, &err));
	require_ok(evn_devices_open(drivers, picks, n, r->devices, &err));
	r->n = (uint32_t)n;
	for (uint32_t i = 0; i < r->n; i++) {
		evn_device_build_throwaway(r->devices[i], true);
		require_ok(evn_queue_create(&r->queues[i], r->devices[i], &err));
	}
}

/* Starts the ranks on devices that are open. limits and gemm must be set. n_blocks: cache blocks. */
static inline void ranks_start(ranks *r, const evn_model *m, const double *shares, const double *prompt_shares,
							   evn_reduce reduce, uint32_t n_blocks)
{
	evn_error err = {0};
	uint64_t memory[EVN_MAX_RANKS];
	for (uint32_t i = 0; i < r->n; i++)
		memory[i] = UINT64_MAX;
	require_ok(evn_graph_make(&r->graph, m, &err));
	require_ok(evn_pool_grow(&r->pool, n_blocks, &err));
	if (r->graph->has_states)
		require_ok(evn_pool_grow_states(&r->pool, evn_states_for(n_blocks, n_blocks), &err));
	require_ok(evn_graph_shape(r->graph, r->limits, &r->shape, &err));
	if (r->n_layers)
		evn_graph_keep_layers(r->graph, r->n_layers);
	require_ok(evn_split_make(&r->split, &r->shape, r->n, shares, prompt_shares, memory, &err));
	const evn_comm_config config = {.queues = r->queues,
									.n_ranks = r->n,
									.reduce = reduce,
									.messages = r->limits.messages,
									.max_floats = evn_message_floats(r->graph->h, r->limits.n_batch)};
	require_ok(evn_comm_create(&r->comm, &config, &err));
	require_ok(
		evn_team_create(&r->team, &(evn_team_config){.n_ranks = r->n, .on_failure = ranks_cancel, .arg = r}, &err));
	require_ok(evn_team_run(r->team, ranks_load, r, NULL, NULL, &err));
}

static inline void ranks_step(ranks *r, const evn_batch *batch)
{
	evn_error err = {0};
	r->batch = batch;
	require_ok(evn_team_run(r->team, ranks_walk, r, NULL, NULL, &err));
	evn_spans_done(batch->spans, batch->n_spans);
}

static inline void ranks_close(ranks *r)
{
	evn_team_free(r->team);
	evn_comm_free(r->comm);
	for (uint32_t i = 0; i < r->n; i++) {
		evn_cache_free(r->caches[i]);
		evn_workspace_free(r->workspaces[i]);
		evn_view_free(r->views[i]);
		evn_shard_free(r->shards[i]);
		evn_queue_free(r->queues[i]);
	}
	for (uint32_t i = 0; i < r->n; i++)
		evn_device_close(r->devices[i]);
	evn_split_free(&r->split);
	evn_pool_free(&r->pool);
	evn_graph_free(r->graph);
}

#endif
