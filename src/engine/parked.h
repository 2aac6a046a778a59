/* parked.h - sequences of a model with states (nn/cache.h) that have ended. Each keeps its cache blocks and its state
 * until the pool needs them. A new sequence that begins with all ids of one takes both, and goes on behind them: the
 * next turn of a conversation. So a parked sequence goes to one sequence only. Not thread-safe. */
#ifndef EVN_PARKED_H
#define EVN_PARKED_H

#include "nn/blocks.h"

typedef struct evn_parked evn_parked; /* a list, the latest first; NULL: there are none */

/* The slot becomes empty. If there is no memory for the ids, nothing is kept and the slot stays as it is. */
void evn_park(evn_parked **list, const int32_t *ids, uint32_t n, evn_slot *slot);
/* The empty slot takes the longest sequence with which the n ids begin. Returns its length, 0 if there is none. */
uint32_t evn_unpark(evn_parked **list, const int32_t *ids, uint32_t n, evn_slot *slot);
/* Gives the blocks and the state of the oldest one back. False if there is none. */
bool evn_parked_drop(evn_parked **list, evn_block_pool *pool);
uint32_t evn_parked_blocks(const evn_parked *list);

#endif
