/* pipeline.h - a step over nodes that hold different layers. The rows of the batch go through the nodes in pieces,
 * which follow each other, so that several nodes compute at the same time. The bits of a row do not depend on the
 * pieces. */
#ifndef EVN_PIPELINE_H
#define EVN_PIPELINE_H

#include "engine/engine.h"

struct evn_pipeline;
/* NULL if the engine's nodes are no pipeline. */
evn_status evn_pipeline_create(struct evn_pipeline **out, const evn_engine *e, evn_error *err);
void evn_pipeline_free(struct evn_pipeline *p);

/* The number of pieces for this batch. */
uint32_t evn_pipeline_pieces(const evn_engine *e, const evn_batch *batch);

/* Computes a piece on the ranks of this node. */
typedef evn_status (*evn_piece_fn)(void *user, const evn_batch *piece, evn_error *err);
/* This node's part of the step: takes the rows of each piece from the node before, and gives them to the next one.
 * The pieces of the last node write to the batch's output. */
evn_status evn_pipeline_step(evn_engine *e, const evn_batch *batch, evn_piece_fn run, void *user, evn_error *err);

#endif
