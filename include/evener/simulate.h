/* simulate.h - predicts how fast a cluster of machines (nodes) that need not exist would compute a model, and how the
 * model is best cut over it. The arithmetic is that of plans: the same ranges, the same time of a block, one exchange
 * of all ranks' messages for each all-reduce. Nothing is measured and no device is touched. */
#ifndef EVENER_SIMULATE_H
#define EVENER_SIMULATE_H

#include "evener/train.h"

#ifdef __cplusplus
extern "C" {
#endif

#define EVN_SIM_NODES 8     /* kinds of nodes */
#define EVN_SIM_DEVICES 8   /* kinds of devices of a node */
#define EVN_SIM_RANKS 16384 /* devices of a cluster */

/* Devices that are alike. */
typedef struct {
	const char *name;
	uint32_t count; /* in each node */
	uint64_t memory_bytes;
	double gbs;              /* weights that it reads in decoding, GB/s; what `evener plan` shows as gemv_gbs */
	double gflops;           /* that it computes of a prompt */
	double block_us, row_us; /* what a block takes beside that: for a token, and for each token of a prompt */
} evn_sim_device;

/* Nodes that are alike. */
typedef struct {
	const char *name;
	uint32_t count, n_devices;
	evn_sim_device devices[EVN_SIM_DEVICES];
	double reduce_us;  /* an all-reduce of a token over its devices */
	double reduce_gbs; /* at which their messages travel; 0: they take no time */
} evn_sim_node;

typedef struct {
	double latency_us; /* an exchange of short messages between two nodes */
	double gbit_s;     /* in each direction */
	double message_us; /* what a node needs for each further message */
} evn_sim_link;

typedef struct {
	uint32_t n_nodes; /* kinds of nodes */
	evn_sim_node nodes[EVN_SIM_NODES];
	evn_sim_link links[EVN_SIM_NODES][EVN_SIM_NODES]; /* between nodes of two kinds; symmetric */
	uint32_t texts;                                   /* written at the same time; 0 = 1 */
} evn_sim_cluster;

/* How a model can be cut: the devices of one node share it; those of several nodes share every matrix; each node has
 * some layers, which its devices share; each node, or the fewest that can, has the whole model. */
typedef enum { EVN_SIM_ONE_NODE, EVN_SIM_TENSOR, EVN_SIM_PIPELINE, EVN_SIM_REPLICA, EVN_SIM_CUTS } evn_sim_cut;

typedef struct {
	bool possible;
	uint32_t n_nodes, n_devices, n_groups;             /* that take part; n_groups: copies of the model */
	uint32_t nodes[EVN_SIM_NODES];                     /* of each kind */
	uint32_t devices[EVN_SIM_NODES][EVN_SIM_DEVICES];  /* of each of these nodes */
	double decode_tok_s, prompt_tok_s, together_tok_s; /* of one text, and of all texts together in decoding */
	double all_reduce_us, node_bytes; /* for a token: an all-reduce; what the busiest node receives from others */
} evn_sim_plan;

typedef struct {
	evn_sim_plan cuts[EVN_SIM_CUTS];
	evn_sim_cut best;     /* the fastest for all texts together; several nodes must be 2 % faster than one */
	uint64_t model_bytes; /* weights and KV cache */
	uint32_t n_tried;     /* splits predicted */
} evn_simulation;

EVN_API const char *evn_sim_cut_name(evn_sim_cut cut); /* "tensor" */
/* Of the options context, batch, cache_tokens, kv_cache and messages count. EVN_ERR_LIMIT if no cut is possible. */
EVN_API evn_status evn_simulate(evn_simulation *out, const evn_sim_cluster *c, const evn_model *m,
								const evn_options *o, evn_error *err);
/* A model of this shape with matrices of a format ("Q4_0"), for predictions: its weights take no memory, and are
 * zeros. */
EVN_API evn_status evn_model_outline(evn_model **out, const evn_model_spec *spec, const char *format, evn_error *err);

#ifdef __cplusplus
}
#endif
#endif
