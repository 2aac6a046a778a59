/* blocks.h - which sequence has which cache blocks. The KV cache of every rank is a pool of cache blocks of 64
 * positions. A cache block has the same number on all ranks, so they are allocated once for all ranks, by host
 * arithmetic.
 *
 * A cache block has a count of the slots that refer to it, because sequences that begin alike can share whole
 * blocks. Not thread-safe: the caller holds the engine's lock. */
#ifndef EVN_BLOCKS_H
#define EVN_BLOCKS_H

#include "base/base.h"

#define EVN_BLOCK_POSITIONS 64u /* EVN_KV_BLOCK_TILES tiles of EVN_KV_TILE in kernels/constants.h */
static inline uint32_t evn_blocks_for(uint32_t n_positions)
{
	return (n_positions + EVN_BLOCK_POSITIONS - 1) / EVN_BLOCK_POSITIONS;
}

/* The table of a sequence: block i holds its positions from 64 i on. Must be zero-initialised.
 *
 * Where a model has states (nn/cache.h), a slot has room for two: a step reads the state behind the last position and
 * writes the next one to the other place, so that a step that fails can be repeated. There is no way back to the
 * state of an earlier position. */
typedef struct {
	uint32_t n_blocks, room, *table;
	uint32_t state;   /* 1 + the number of its pair of places; 0: none */
	uint32_t n_state; /* the positions behind which the state is; 0: there is none yet */
	bool second;      /* it is in the second place */
} evn_slot;

/* The place that the next step reads, and the one that it writes. */
static inline uint32_t evn_slot_state(const evn_slot *s, bool next)
{
	return 2 * (s->state - 1) + (s->second != next);
}

typedef struct {
	uint32_t n_blocks, n_free;
	uint32_t *free_list; /* (n_blocks); the last n_free entries are the free blocks */
	uint32_t *n_users;   /* (n_blocks) slots that refer to each block */
	uint32_t n_states, n_free_states;
	uint32_t *free_states; /* as free_list; n_states is 0 if the model has no states */
} evn_block_pool;

/* Enlarges the pool to n_blocks, which must not be fewer than before. */
evn_status evn_pool_grow(evn_block_pool *p, uint32_t n_blocks, evn_error *err);
/* The same for states: the pool then gives one to each slot that has blocks. */
evn_status evn_pool_grow_states(evn_block_pool *p, uint32_t n_states, evn_error *err);
void evn_pool_free(evn_block_pool *p);

/* The sequences that have states at once, in a cache of n_cache positions (0: n_ctx). */
#define EVN_LEAST_STATES 4u
static inline uint32_t evn_states_for(uint32_t n_cache, uint32_t n_ctx)
{
	const uint32_t n = n_ctx ? n_cache / n_ctx : 0;
	return n > EVN_LEAST_STATES ? n : EVN_LEAST_STATES;
}

/* Gives the slot cache blocks for n_positions in all. EVN_ERR_LIMIT if the pool has too few; the slot is then
 * unchanged. */
evn_status evn_slot_extend(evn_slot *s, evn_block_pool *p, uint32_t n_positions, evn_error *err);
/* Keeps the first n_positions and frees the cache blocks behind them. Returns the number of positions that are left.
 * It is smaller if the cut would be inside a shared block, because the slot may append to its last block. It is 0 if
 * the slot has a state of a later position. */
uint32_t evn_slot_truncate(evn_slot *s, evn_block_pool *p, uint32_t n_positions);
void evn_slot_free(evn_slot *s, evn_block_pool *p);

/* One more user of a cache block, and one less. A block that nobody uses is free. */
void evn_pool_hold(evn_block_pool *p, uint32_t block);
void evn_pool_release(evn_block_pool *p, uint32_t block);
/* The slot becomes one more user of a block, which holds the 64 positions behind those of its table. A shared block
 * is only read: new positions go to blocks of the slot's own. */
evn_status evn_slot_append(evn_slot *s, evn_block_pool *p, uint32_t block, evn_error *err);

#endif
