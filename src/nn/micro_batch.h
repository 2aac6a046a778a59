/* micro_batch.h - micro-batches: the rows of a step that go through the blocks together. How a batch is cut into
 * them, the walk over the blocks, and the output of their rows. For walk.c, and for training, which has an input and
 * an output of its own. */
#ifndef EVN_MICRO_BATCH_H
#define EVN_MICRO_BATCH_H

#include "nn/ops_delta.h"
#include "nn/ops_layers.h"
#include "nn/walk.h"

typedef struct {
	evn_row_set rows;
	uint32_t first_row;        /* in the batch */
	uint32_t first_out, n_out; /* the entries of batch->out_rows that are among its rows */
	bool out_is_all;           /* few rows, and the logits of all are needed: the last sum also computes their norm */
	bool encodes;              /* they go through the encoder */
	evn_row_set memory;        /* the same rows, with the memories of their spans */
	bool overlaps;             /* another micro-batch is in flight at the same time */
	uint32_t stream;           /* the communicator's stream of its messages */
	evn_buf *x, *normed, *aside;
	evn_layer_inputs by_layer; /* rows is NULL if the host sends the embedding alone */
	evn_runs runs;             /* of its sequences, if they have states */
} evn_micro_batch;

/* Checks the batch and cuts it into *n micro-batches. Their row tables are written to the device. */
evn_status evn_micro_batches_cut(const evn_walker *w, const evn_batch *batch, evn_micro_batch *out, uint32_t *n,
								 evn_error *err);
/* Writes the output of the micro-batch's rows, when the last block's sum is in x. */
evn_status evn_micro_batch_output(const evn_walker *w, const evn_batch *batch, const evn_micro_batch *mb,
								  evn_error *err);

/* ---- the walk over the blocks (walk.c, block.c) ---------------------------------------------------------------- */

/* Takes each of the n micro-batches' x from rows of the embedding to the rows after the last block. With a tape there
 * is one micro-batch of prompt rows: whole sequences of equal length, which is EVN_SEQUENCE_GRAIN or a multiple. */
evn_status evn_walk_blocks(const evn_walker *w, const evn_micro_batch *mbs, uint32_t n, evn_error *err);
/* Computes once more from x what the tape keeps of a block besides x. */
evn_status evn_walk_again(const evn_walker *w, uint32_t block, const evn_micro_batch *mb, evn_error *err);
/* The heads of an attention block in rows on the tape. */
evn_sequences evn_walk_sequences(const evn_walker *w, uint32_t block, const evn_micro_batch *mb);

#endif
