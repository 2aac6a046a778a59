/* cluster.h - one model over the processes of several machines (nodes), started by an MPI launcher such as mpirun or
 * srun. docs/cluster.md tells how to start them.
 *
 * Every process joins, opens the same model and sets evn_options.cluster. Node 0 then works as if it were alone: its
 * evn_engine_open and evn_plan_make find the devices of all nodes, and its requests are computed by all of them. The
 * other nodes call evn_cluster_follow (or evn_plan_make for a plan). A failure while nodes open the engine is known
 * to all of them. After that the loss of a device or of a node cannot be repaired: who sees it calls
 * evn_cluster_abort (evn_cluster_on_failure).
 *
 * Devices, shares and memory limits are each node's own; shares are weights over the ranks of all nodes. The model,
 * the version and everything else must be the same, or the nodes refuse to begin. */
#ifndef EVENER_CLUSTER_H
#define EVENER_CLUSTER_H

#include "evener.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct evn_cluster evn_cluster;

/* What the nodes share: every matrix, or the layers one after the other. AUTO: every matrix. */
typedef enum { EVN_CLUSTER_AUTO, EVN_CLUSTER_TENSOR, EVN_CLUSTER_PIPELINE } evn_cluster_split;

/* The processes that a launcher has started together with this one, itself included; 1: none did. */
EVN_API uint32_t evn_cluster_launched(void);
/* Waits for all of them. EVN_ERR_UNSUPPORTED if the library was built without MPI. Once in a process. */
EVN_API evn_status evn_cluster_join(evn_cluster **out, evn_error *err);
EVN_API uint32_t evn_cluster_node(const evn_cluster *c);  /* the number of this node */
EVN_API uint32_t evn_cluster_nodes(const evn_cluster *c); /* how many there are */
EVN_API const char *evn_cluster_host(const evn_cluster *c, uint32_t node);
/* `failed` is called once if the job can only end: a step failed on this node, or nothing has been heard of another
 * node for some seconds. What waits for that node fails with the same error; this is for a process that waits for
 * something else, or goes on after errors. Some thread calls it, maybe the caller's. */
EVN_API void evn_cluster_on_failure(evn_cluster *c, void (*failed)(void *user, const evn_error *why), void *user);
/* On every node but node 0: holds this node's part of the model and computes what node 0 asks for, until node 0
 * closes its engine. A context, batch or cache_tokens of 0 is node 0's. */
EVN_API evn_status evn_cluster_follow(evn_cluster *c, const evn_model *m, const evn_options *o, evn_error *err);
/* True if the last failure is known to all nodes, so that all of them end by themselves. */
EVN_API bool evn_cluster_knows(const evn_cluster *c);
/* Waits until all nodes leave. NULL is accepted. */
EVN_API void evn_cluster_leave(evn_cluster *c);
/* Ends the processes of all nodes. It does not return. */
EVN_API void evn_cluster_abort(evn_cluster *c, int exit_code);

#ifdef __cplusplus
}
#endif
#endif
