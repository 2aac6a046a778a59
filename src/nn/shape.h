/* shape.h - describes a model for the planner. */
#ifndef EVN_SHAPE_H
#define EVN_SHAPE_H

#include "nn/graph.h"
#include "nn/workspace.h"

/* The sizes of the model's matrices, scratch and KV cache for these limits. EVN_ERR_LIMIT if the model has learned
 * fewer positions than limits.n_ctx. */
evn_status evn_graph_shape(const evn_graph *g, evn_limits limits, evn_plan_shape *out, evn_error *err);

#endif
