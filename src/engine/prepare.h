/* prepare.h - from options to a decision: which devices, which ranges, which reduce method. Shared by the plan that
 * is shown and the engine that is opened, so that they cannot differ. */
#ifndef EVN_PREPARE_H
#define EVN_PREPARE_H

#include "engine/profile.h"
#include "evener/cluster.h"
#include "group/comm.h"
#include "nn/blocks.h"
#include "nn/shape.h"

/* A device that failed while it was used. */
typedef struct {
	char device[96], name[96], reason[256]; /* device: its id; name: with the part of it that was used */
} evn_lost_device;

/* A rank's device, as a plan shows it and must respect it. */
typedef struct {
	char id[96], name[160]; /* id: with the part of it that is used */
	char node[96];          /* "1 (host)"; empty: there is one node */
	bool is_cpu;
	uint64_t max_alloc_bytes;
} evn_rank_device;

/* The best device that holds the whole model. */
typedef struct {
	char name[96];
	evn_prediction predicted; /* 0 tokens/s if there is none */
} evn_best_alone;

/* What the nodes of a cluster hold, if they do not share every matrix (stages.h). */
typedef struct {
	evn_cluster_split split;
	evn_range blocks[EVN_MAX_NODES]; /* of a pipeline, of each node. Empty: rows do not go there */
	uint32_t last;                   /* the node with the head */
} evn_stages;

typedef struct {
	evn_system *system;
	evn_graph *graph;
	evn_limits limits;
	evn_plan_shape shape;
	struct evn_cluster *cluster; /* NULL: all ranks are in this process */
	evn_comm_nodes nodes;        /* who has which of the n ranks */
	uint32_t begin, end;         /* the ranks of this process; picks are known of these only */
	evn_reduce_cost exchange;    /* between nodes, measured */
	evn_stages stages;
	uint32_t n;
	evn_pick picks[EVN_MAX_RANKS];
	evn_rank_device devices[EVN_MAX_RANKS];
	evn_best_alone best_alone;
	evn_plan_candidate ranks[EVN_MAX_RANKS]; /* memory, asked share and measured rates of each; no names */
	evn_profile profile;
	evn_split split;
	evn_reduce reduce;
	evn_plan *plan;     /* what the user is shown */
	uint32_t n_smaller; /* how often a rank got less because its memory was full */
	uint32_t n_lost;
	evn_lost_device lost[EVN_MAX_CANDIDATES];
} evn_prepared;

/* The positions that a sequence of n_ctx may have in the cache; with an encoder, those of its text too. */
static inline uint32_t evn_session_positions(const evn_graph *g, uint32_t n_ctx)
{
	return g->n_encoder ? 2 * (uint32_t)evn_round_up(n_ctx, EVN_BLOCK_POSITIONS) : n_ctx;
}
/* The graph, the limits and the shape: what a plan needs to know about the model. */
evn_status evn_prepare_shape(evn_prepared *p, const evn_model *m, const evn_options *o, evn_error *err);
/* For training, devices are chosen by what training's products reach, and what is predicted for prompts is training's
 * own speed. */
evn_status evn_prepare(evn_prepared *out, const evn_model *m, const evn_options *o, evn_purpose purpose,
					   evn_error *err);
/* The same; out has the devices that are lost, which do not take part, and is otherwise zero. */
evn_status evn_prepare_with(evn_prepared *out, const evn_model *m, const evn_options *o, evn_purpose purpose,
							evn_error *err);
/* Splits the model over the ranks of p, by their rates and memory. */
evn_status evn_prepare_split(evn_prepared *p, evn_error *err);
/* The same, and what limits of devices follow from it. */
evn_status evn_prepare_ranges(evn_prepared *p, evn_error *err);
/* p without a rank whose device failed. If other ranks are left, they share the model by the figures that p has.
 * Otherwise the planner chooses among the devices that have not failed, if the user has not named devices. *out takes
 * over the plans that p showed; of p evn_prepared_free is left to call (replan.c). */
evn_status evn_prepare_without(evn_prepared *out, evn_prepared *p, const evn_options *o, uint32_t rank,
							   const char *reason, evn_error *err);
/* The ranks of p, of which this one gets less because its memory was full. On an error p stays as it was. */
evn_status evn_prepare_smaller(evn_prepared *out, evn_prepared *p, const evn_options *o, uint32_t rank,
							   evn_error *err);
/* The same for one rank of `p` that holds the whole model; nothing to show. */
evn_status evn_prepare_alone(evn_prepared *out, const evn_prepared *p, uint32_t rank, evn_error *err);
void evn_prepared_free(evn_prepared *p);

#endif
