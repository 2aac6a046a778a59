/* simulate.h - the speed of a model over the devices of a described cluster. See evener/simulate.h; this part knows
 * only the shape of the model. */
#ifndef EVN_PLAN_SIMULATE_H
#define EVN_PLAN_SIMULATE_H

#include "evener/simulate.h"
#include "plan/plan.h"

typedef struct {
	const evn_plan_shape *shape;
	const evn_sim_cluster *cluster;
	double key_flops;               /* attention of one query head to one position */
	double row_bytes, prompt_bytes; /* a rank's message for one token, and for EVN_PLAN_PROMPT tokens of a prompt */
} evn_sim_input;

evn_status evn_plan_simulate(evn_simulation *out, const evn_sim_input *in, evn_error *err);

/* ---- for the parts of the simulator ---------------------------------------------------------------------------- */

/* Which devices take part: of each kind of nodes so many, and of each of these nodes so many devices of a kind. */
typedef struct {
	uint32_t nodes[EVN_SIM_NODES], devices[EVN_SIM_NODES][EVN_SIM_DEVICES];
} evn_sim_set;

uint32_t evn_sim_node_devices(const evn_sim_input *in, const evn_sim_set *set, uint32_t kind);
uint64_t evn_sim_devices(const evn_sim_input *in, const evn_sim_set *set);
uint32_t evn_sim_nodes(const evn_sim_input *in, const evn_sim_set *set);
/* The time that an all-reduce over these devices adds to a step: inside of the slowest node, and between nodes. */
evn_reduce_cost evn_sim_reduce_cost(const evn_sim_input *in, const evn_sim_set *set);

/* A split over the devices of a set, which are its ranks. */
typedef struct {
	evn_split split;
	evn_plan_candidate *ranks;
	evn_reduce_cost cost;
} evn_sim_ranks;

/* `shape` may be another one than in->shape. any_memory: devices hold whatever they must. EVN_ERR_LIMIT also if a
 * device would have no part. */
evn_status evn_sim_split(evn_sim_ranks *out, const evn_sim_input *in, const evn_plan_shape *shape,
						 const evn_sim_set *set, bool any_memory, evn_error *err);
void evn_sim_ranks_free(evn_sim_ranks *r);
/* The seconds of a step of n_rows texts, with the vocabulary, and of a prompt of EVN_PLAN_PROMPT tokens. */
double evn_sim_step_s(const evn_sim_ranks *r, uint32_t n_rows);
double evn_sim_prompt_s(const evn_sim_ranks *r);

/* Layers over the nodes of a set, whose devices share the layers of their node (pipeline.c). Nodes may be left out.
 */
evn_status evn_sim_pipeline(evn_sim_plan *out, const evn_sim_input *in, const evn_sim_set *set, uint32_t *n_tried,
							evn_error *err);
/* Every matrix over the devices of a set. Not possible if they cannot hold the model. */
evn_status evn_sim_tensor(evn_sim_plan *out, const evn_sim_input *in, const evn_sim_set *set, evn_error *err);
/* The best devices of one node of a kind, for the whole model; any_memory as above. False if none can hold it. */
evn_status evn_sim_best_of_node(evn_sim_set *out, const evn_sim_input *in, uint32_t kind, bool any_memory,
								uint32_t *n_tried, evn_error *err);
static inline uint32_t evn_sim_texts(const evn_sim_input *in) { return in->cluster->texts ? in->cluster->texts : 1; }

#endif
