/* cluster.h - what the nodes of a cluster agree on before they load a model: that they are equal, which ranks there
 * are, who holds what. follow.h has what comes after that. */
#ifndef EVN_ENGINE_CLUSTER_H
#define EVN_ENGINE_CLUSTER_H

#include <stdatomic.h>

#include "engine/prepare.h"
#include "evener/cluster.h"

struct evn_cluster {
	evn_nodes *nodes;
	bool knows; /* the last failure is known to all nodes */
	void (*failed)(void *user, const evn_error *why);
	void *user;
	atomic_bool told; /* `failed` was called */
};

/* The job can only end; tells the listener. */
void evn_cluster_fail(evn_cluster *c, const evn_error *why);

/* A record of each node, `bytes` long; all (n_nodes) has this node's, and afterwards everybody's. */
evn_status evn_cluster_exchange(const evn_cluster *c, void *all, uint64_t bytes, evn_error *err);
/* Every node says whether it has failed, with the error in *err. If any has, all fail with the error of the first,
 * which names the node. */
evn_status evn_cluster_agree(evn_cluster *c, evn_status mine, evn_error *err);
/* Checks that all nodes have the same version, kernels, model and options. Options that are 0 become node 0's. */
evn_status evn_cluster_compare(evn_cluster *c, const evn_model *m, evn_options *o, evn_purpose purpose,
							   evn_error *err);
/* `chosen`: whether this node could choose its ranks, which p has. Afterwards p has those of all nodes, in the order
 * of the nodes, and what an exchange between nodes takes. */
evn_status evn_cluster_collect_ranks(evn_cluster *c, evn_prepared *p, evn_status chosen, evn_error *err);
/* `split`: whether node 0 could split the model. Afterwards every node has its split and its limits. */
evn_status evn_cluster_share_split(evn_cluster *c, evn_prepared *p, evn_status split, evn_error *err);

#endif
