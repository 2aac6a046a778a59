/* follow.h - how the nodes of a cluster work as one engine. Node 0 says what comes next, and the other nodes do the
 * same: they hold their ranks' parts of the model and of the KV cache, and compute the same steps. */
#ifndef EVN_FOLLOW_H
#define EVN_FOLLOW_H

#include "engine/engine.h"

/* True on node 0 of a cluster, whose engine tells the others. */
bool evn_engine_leads(const evn_engine *e);
/* After loading: whether it succeeded on all nodes, and what each rank reads for a token. */
evn_status evn_follow_loaded(evn_engine *e, evn_status loaded, evn_error *err);

/* On node 0: tells the others that a step begins, that the KV cache grows, that all-reduces are timed, that the
 * engine is closed. */
evn_status evn_lead_step(evn_engine *e, const evn_batch *batch, evn_error *err);
evn_status evn_lead_growth(evn_engine *e, evn_error *err);
evn_status evn_lead_timing(evn_engine *e, uint64_t n_floats, uint32_t n, evn_error *err);
void evn_lead_end(evn_engine *e);

/* How long a node waits for the others within a step. */
evn_node_wait evn_engine_node_wait(const evn_engine *e);

void evn_following_free(struct evn_following *f);

/* After a step: node 0 gets the logits that the other nodes have computed, and the times of their ranks. */
evn_status evn_follow_outputs(evn_engine *e, const evn_batch *batch, evn_error *err);

#endif
