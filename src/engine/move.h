/* move.h - other ranks hold and compute a block of the model, between two steps. */
#ifndef EVN_MOVE_H
#define EVN_MOVE_H

#include "engine/engine.h"

/* Blocks of the graph count from 0; the one behind the last stands for the vocabulary. */
static inline uint32_t evn_n_movable(const evn_engine *e) { return e->prepared.graph->n_blocks + 1; }

/* True if the parts of this block differ between the engine's split and `to`. */
bool evn_move_changes(const evn_engine *e, const evn_split *to, uint32_t block);
/* The bytes of weights that ranks must load if the engine's split becomes `to`. */
uint64_t evn_move_bytes(const evn_engine *e, const evn_split *to);
/* What each rank holds and uses of this block becomes as in `to`, with the keys and values of all cached positions.
 * `to` is a split of the same shape over the same ranks. Of an attention block a rank must hold what it uses, not
 * more: its cache has the heads that it computes. If it fails, nothing has changed. The lock must be held. */
evn_status evn_engine_move(evn_engine *e, const evn_split *to, uint32_t block, evn_error *err);

#endif
