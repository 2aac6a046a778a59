/* block.h - what one rank computes of one block: from normed rows to a partial sum. For walk.c. */
#ifndef EVN_BLOCK_H
#define EVN_BLOCK_H

#include "nn/micro_batch.h"

/* The buffers of a block's rows: those of the workspace, which the next block overwrites, or those of the tape. */
evn_kept evn_block_kept(const evn_walker *w, uint32_t block, const evn_micro_batch *mb);
/* Writes the partial sum of this rank's units, from the rows after the norm. */
evn_status evn_block_compute(const evn_walker *w, uint32_t block, const evn_micro_batch *mb, evn_error *err);
/* Appends keys and values of normed rows of the encoder to the memory that the block attends to. */
evn_status evn_block_remember(const evn_walker *w, uint32_t block, const evn_micro_batch *mb, evn_error *err);
/* Computes the input of W_out only. */
evn_status evn_block_inner(const evn_walker *w, uint32_t block, const evn_micro_batch *mb, evn_error *err);
/* What a rank without units of the block does: it takes part where ranks meet inside the block. */
evn_status evn_block_skip(const evn_walker *w, uint32_t block, const evn_micro_batch *mb, evn_error *err);

#endif
