/* micro_batch.h - the rows of a step that go through the blocks together: how a batch is cut into them, and what
 * comes out of them at the end. For walk.c. */
#ifndef EVN_MICRO_BATCH_H
#define EVN_MICRO_BATCH_H

#include "nn/walk.h"

typedef struct {
	evn_row_set rows;
	uint32_t first_row;        /* of the batch */
	uint32_t first_out, n_out; /* of batch->out_rows: those that are among its rows */
	bool out_is_all;           /* few rows, and the logits of all are wanted: the last sum makes their norm too */
	bool overlaps;             /* another micro-batch is under way beside it */
	uint32_t stream;           /* of the group's messages that are under way at once */
	evn_buf *x, *normed;
} evn_micro_batch;

/* Checks the batch; *n = how many micro-batches. Their row tables are on their way to the device. */
evn_status evn_micro_batches_cut(const evn_walker *w, const evn_batch *batch, evn_micro_batch *out, uint32_t *n,
								 evn_error *err);
/* What the batch wants of its rows, once the last block's sum is in x. */
evn_status evn_micro_batch_output(const evn_walker *w, const evn_batch *batch, const evn_micro_batch *mb,
								  evn_error *err);

#endif
