/* prefix.h - which cache blocks hold which tokens. Whole blocks of a sequence are entered here and stay when the
 * sequence ends, until the pool needs them. A new sequence that begins with the same ids takes them instead of
 * computing them again.
 *
 * A block is known by its ids and by the block before it, so equal ids behind different beginnings are different
 * blocks. The ids themselves are compared, not only their hash.
 *
 * When a sequence ends, its last block stays too, though it is not full: the tail. The next turn of a conversation
 * takes it, and writes its own ids behind those that are there. So a tail goes to one sequence only.
 *
 * Where a model has states, blocks without the state behind them are of no use. There whole sequences that have ended
 * stay (parked.h), and no blocks are shared. Not thread-safe. */
#ifndef EVN_PREFIX_H
#define EVN_PREFIX_H

#include "engine/parked.h"

typedef struct evn_prefixes evn_prefixes;

evn_status evn_prefixes_create(evn_prefixes **out, evn_block_pool *p, evn_error *err);
/* Gives all blocks back to the pool. */
void evn_prefixes_free(evn_prefixes *c);

/* The number of whole blocks, from the first of n ids on, that are known. */
uint32_t evn_prefix_length(const evn_prefixes *c, const int32_t *ids, uint32_t n);
/* The empty slot takes the known blocks. *n_shared: the positions in them that hold these ids. A tail is taken if all
 * its ids are the sequence's, or if all n ids are in it. */
evn_status evn_prefix_take(evn_prefixes *c, const int32_t *ids, uint32_t n, evn_slot *slot, uint32_t *n_shared,
						   evn_error *err);
/* Enters the slot's whole blocks among its first n ids. Those that are known already keep their block. */
void evn_prefix_keep(evn_prefixes *c, const int32_t *ids, uint32_t n, const evn_slot *slot);
/* Enters what is behind them, when the sequence ends. Where there are states, the slot becomes empty. */
void evn_prefix_keep_tail(evn_prefixes *c, const int32_t *ids, uint32_t n, evn_slot *slot);

/* Frees blocks that no sequence uses until the pool has n_free; the least recently used go first, and the last block
 * of a sequence before the ones in front of it. False if there are too few. */
bool evn_prefixes_make_room(evn_prefixes *c, uint32_t n_free);
/* Where there are states: makes sure that one is free. False if running sequences have all. */
bool evn_prefixes_make_state(evn_prefixes *c);
/* What the blocks hold is lost. Gives them back to the pool. */
void evn_prefixes_forget(evn_prefixes *c);
/* Blocks that are known and that no sequence uses. */
uint32_t evn_prefixes_unused(const evn_prefixes *c);

#endif
