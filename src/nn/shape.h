/* shape.h - describes a model for the planner. */
#ifndef EVN_SHAPE_H
#define EVN_SHAPE_H

#include "nn/graph.h"
#include "nn/workspace.h"

/* The sizes of the model's matrices, scratch and KV cache for these limits. EVN_ERR_LIMIT if the model has learned
 * fewer positions than limits.n_ctx. */
evn_status evn_graph_shape(const evn_graph *g, evn_limits limits, evn_plan_shape *out, evn_error *err);

/* The weights of a model by format, as one row of a prompt or of decoding reads them. */
typedef struct {
	double bytes[EVN_FORMATS], macs[EVN_FORMATS]; /* of all blocks; [evn_quant_index] */
	size_t head;                                  /* the format of the output matrix */
} evn_weight_mix;

/* For a model without blocks, the output matrix stands for them. */
evn_status evn_graph_mix(const evn_graph *g, evn_weight_mix *out, evn_error *err);

#endif
