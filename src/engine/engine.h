/* engine.h - the parts behind evn_engine and evn_session. */
#ifndef EVN_ENGINE_H
#define EVN_ENGINE_H

#include <pthread.h>

#include "engine/doubt.h"
#include "engine/prepare.h"
#include "engine/verify.h"
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

/* A step that succeeded. */
typedef struct evn_step_seen {
	const evn_batch *batch;
	const evn_comm_times *before; /* of each rank */
	double began_s, wall_s;
} evn_step_seen;

typedef struct {
	pthread_mutex_t lock;
	double began_s;
	uint64_t n; /* all that there have been; the last ones are kept in list[i % EVN_EVENTS_KEPT] */
	evn_engine_event list[EVN_EVENTS_KEPT];
} evn_engine_events_kept;

struct evn_engine {
	const evn_model *model;
	evn_options options; /* the pointers in it are not kept */
	evn_prepared prepared;
	evn_embedding embedding;
	bool finds_top; /* a rank's device finds the largest logits (nn/top.h), so steps should ask for no others */
	uint32_t n_ranks;
	uint32_t begin, end; /* the ranks of this process. Of other nodes' ranks, `ranks` has nothing */
	evn_rank ranks[EVN_MAX_RANKS];
	uint64_t read_bytes[EVN_MAX_RANKS][EVN_PHASES]; /* of other nodes' ranks: as view->read_bytes */
	struct evn_pipeline *pipeline;                  /* nodes hold different layers (pipeline.h); or NULL */
	struct evn_following *following; /* what nodes send each other (follow.h); NULL: there is one node */
	evn_comm *comm;
	evn_team *team;
	evn_engine_events_kept events;
	_Atomic(evn_plan *) shown; /* prepared.plan, for other threads: a step may hold the lock for long */
	/* The lock lets one step run at a time, and none while the cache grows or cache blocks change owners. It guards
	 * everything below. */
	pthread_mutex_t lock;
	evn_block_pool pool;
	struct evn_prefixes *prefixes; /* of the scheduler, whose unused blocks others may have (prefix.h); NULL: none */
	uint32_t n_sessions;
	uint32_t n_recoveries;           /* after each the KV cache is empty */
	uint32_t n_abandoned;            /* teams; what the caller gave to the step of one may still be written to */
	evn_error dead;                  /* no device is left: what every step fails with */
	atomic_bool is_dead;             /* for other threads */
	struct evn_tracing *tracing;     /* NULL: nobody wants to hear what happens when */
	struct evn_rebalance *rebalance; /* NULL: shares stay as they are */
	double shares[EVN_MAX_RANKS];    /* decoding */
	evn_doubt doubt;
	evn_verify verify;
	uint64_t taking_part; /* in steps, one bit for each rank */
};

/* Takes ownership of *p, also if it fails. If *p has no plan, evn_engine_plan must not be called. */
evn_status evn_engine_open_prepared(evn_engine **out, const evn_model *m, const evn_options *o, evn_prepared *p,
									evn_error *err);

/* Runs fn on every rank, like evn_team_run. The lock must be held. The ranks can run again afterwards, also after a
 * failure, unless a device hangs. */
evn_status evn_engine_run(evn_engine *e, evn_rank_fn fn, void *arg, void (*tick)(void *), void *tick_arg,
						  evn_error *err);

/* The same on the ranks that take part in steps. */
evn_status evn_engine_run_part(evn_engine *e, evn_rank_fn fn, void *arg, void (*tick)(void *), void *tick_arg,
							   evn_error *err);
/* Ranks that compute nothing take no part in steps from now on; the others do. If `all`, each does. Between steps. */
void evn_engine_take_part(evn_engine *e, bool all);

/* EVN_ERR_USAGE for an encoder, which has no next token. */
evn_status evn_engine_check_decoder(const evn_engine *e, evn_error *err);

/* Called about ten times a second during a step. False ends the step. */
typedef struct {
	bool (*go_on)(void *user);
	void *user;
} evn_step_watch;

/* Computes the batch on all ranks (step.c). The lock must be held. EVN_ERR_CANCELLED if the watch ended the step. The
 * next step can be computed in any case, unless a device is lost. */
evn_status evn_engine_step(evn_engine *e, const evn_batch *batch, const evn_step_watch *watch, evn_error *err);

/* The cache blocks of a session that fills its context; with an encoder, its memory too. */
static inline uint32_t evn_session_blocks(const evn_engine *e)
{
	return evn_blocks_for(evn_session_positions(e->prepared.graph, e->prepared.limits.n_ctx));
}
/* Makes room in the cache for n_sessions sessions, on all nodes. The lock must be held. */
evn_status evn_engine_grow_cache(evn_engine *e, evn_error *err);
/* Times all-reduces of n_floats on all nodes; us (n) may be NULL. The lock must be held. */
evn_status evn_engine_run_timing(evn_engine *e, uint64_t n_floats, uint32_t n, double *us, evn_error *err);

/* Bytes of the matrices that one row of the phase reads on a rank of any node. */
static inline uint64_t evn_engine_read_bytes(const evn_engine *e, uint32_t rank, evn_phase phase)
{
	return e->ranks[rank].view ? e->ranks[rank].view->read_bytes[phase] : e->read_bytes[rank][phase];
}

/* After a step failed, with the error of the step: goes on without the rank that failed. The weights are loaded anew
 * on the ranks that are left, or on other devices, and the KV cache is empty: n_recoveries tells. False if it was not
 * the fault of a device, or if there is nothing to go on with; `why` then says so. The lock must be held. */
bool evn_engine_recover(evn_engine *e, evn_error *why);

/* What a rank did since `before`, in which it read so many bytes of weights. */
evn_rank_stats evn_engine_rank_stats(const evn_engine *e, uint32_t rank, evn_comm_times before, uint64_t bytes_read);

/* Notes an event, and logs it. */
void evn_engine_note(evn_engine *e, evn_log_level level, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* For trace.c: what happened, to the listener of a trace. Without one they do nothing. The lock must be held. */
evn_status evn_trace_before_step(evn_engine *e, evn_error *err);
void evn_trace_after_step(evn_engine *e, const evn_step_seen *seen);
void evn_trace_event(evn_engine *e, const char *text);

/* A hash of the model, the ranks and the way they compute. */
uint64_t evn_scorer_fingerprint(const evn_scorer *s);

#endif
