/* stages.h - what the nodes of a cluster hold if they do not share every matrix: a pipeline of layers. Each node is a
 * stage, whose ranks share each of its layers. */
#ifndef EVN_STAGES_H
#define EVN_STAGES_H

#include "engine/prepare.h"

/* True if every node adds the partial sums of its own ranks only. */
static inline bool evn_nodes_are_apart(const evn_prepared *p) { return p->nodes.apart; }

/* Whether the model's layers can be on different nodes. EVN_ERR_UNSUPPORTED says why not. */
evn_status evn_stages_check(const evn_graph *g, evn_error *err);
/* Splits the model over the nodes of p, by their ranks' shares and memory. Layers follow each other in the order of
 * the nodes; the last one has the head. A node whose ranks have no share, or that is too slow for a layer, has none.
 */
evn_status evn_stages_split(evn_prepared *p, evn_error *err);
/* The parts into which a step of n_rows is cut, so that the stages work at the same time: as many as are predicted to
 * end first. */
uint32_t evn_stages_pieces(const evn_prepared *p, evn_phase phase, uint32_t n_rows);
evn_prediction evn_stages_predict(const evn_prepared *p, evn_reduce_cost cost);

/* The node whose rows this one takes, and the one that takes its rows; its own number if there is none. Node 0 begins
 * with the rows of the embedding, also if it has no layers. */
uint32_t evn_stage_before(const evn_stages *s, uint32_t node);
uint32_t evn_stage_after(const evn_stages *s, uint32_t node, uint32_t n_nodes);

#endif
