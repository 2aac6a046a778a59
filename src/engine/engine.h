/* engine.h - the parts behind evn_engine and evn_session. */
#ifndef EVN_ENGINE_H
#define EVN_ENGINE_H

#include <pthread.h>

#include "engine/prepare.h"
#include "evener/score.h"
#include "group/team.h"
#include "nn/embed.h"
#include "nn/walk.h"

typedef struct {
	evn_device *device;
	evn_queue *queue;
	evn_shard *shard;
	evn_view *view;
	evn_workspace *workspace;
	evn_cache *cache;
} evn_rank;

struct evn_engine {
	const evn_model *model;
	evn_options options; /* pointers in it are not kept */
	evn_prepared prepared;
	evn_embedding embedding;
	uint32_t n_ranks;
	evn_rank ranks[EVN_MAX_RANKS];
	evn_comm *comm;
	evn_team *team;
	/* One step at a time, and none while the cache grows or blocks change hands: all below belongs to who holds it.
	 */
	pthread_mutex_t lock;
	evn_block_pool pool;
	uint32_t n_sessions;
	uint32_t waiting_steps; /* in a row in which every rank waited longer than it worked */
};

/* Takes *p over, also where it fails. Without a plan in *p, evn_engine_plan must not be called. */
evn_status evn_engine_open_prepared(evn_engine **out, const evn_model *m, const evn_options *o, evn_prepared *p,
									evn_error *err);

/* Runs fn on every rank, as evn_team_run. The lock is held. Whatever the outcome, the ranks can run again, unless a
 * device hangs. */
evn_status evn_engine_run(evn_engine *e, evn_rank_fn fn, void *arg, void (*tick)(void *), void *tick_arg,
						  evn_error *err);

/* Asked about ten times a second while a step is computed; false: the step is to end. */
typedef struct {
	bool (*go_on)(void *user);
	void *user;
} evn_step_watch;

/* step.c: computes the batch on all ranks. The lock is held. EVN_ERR_CANCELLED where the watch ended it; whatever the
 * outcome, the next step can be computed, unless a device is lost. */
evn_status evn_engine_step(evn_engine *e, const evn_batch *batch, const evn_step_watch *watch, evn_error *err);

/* Of the model, the ranks and how they compute. */
uint64_t evn_scorer_fingerprint(const evn_scorer *s);

#endif
