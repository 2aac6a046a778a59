/* experts.h - a mixture of experts on one rank. The rank has a part of every expert, as of a feed-forward network. It
 * computes the router itself, from rows that all ranks have, so experts need no communication of their own. */
#ifndef EVN_EXPERTS_H
#define EVN_EXPERTS_H

#include "nn/block.h"

/* The rows of a block that are multiplied with the normed row, for evn_op_choose and evn_op_rates. */
evn_router evn_block_router(const evn_workspace *s, const evn_shard_block *held);
/* Writes the partial sum of this rank's units. */
evn_status evn_experts_compute(const evn_walker *w, uint32_t block, const evn_micro_batch *mb, evn_error *err);
/* Multiplies the rows before W_out of a shared expert, and adds them to the partial sum of the experts that it joins.
 */
evn_status evn_experts_add_shared(const evn_walker *w, uint32_t block, const evn_micro_batch *mb, evn_error *err);

#endif
