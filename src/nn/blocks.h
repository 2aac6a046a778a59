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

/* The table of a sequence: block i holds its positions from 64 i on. Must be zero-initialised. */
typedef struct {
	uint32_t n_blocks, room, *table;
} evn_slot;

typedef struct {
	uint32_t n_blocks, n_free;
	uint32_t *free_list; /* (n_blocks); the last n_free entries are the free blocks */
	uint32_t *n_users;   /* (n_blocks) slots that refer to each block */
} evn_block_pool;

/* Enlarges the pool to n_blocks, which must not be fewer than before. */
evn_status evn_pool_grow(evn_block_pool *p, uint32_t n_blocks, evn_error *err);
void evn_pool_free(evn_block_pool *p);

/* Gives the slot cache blocks for n_positions in all. EVN_ERR_LIMIT if the pool has too few; the slot is then
 * unchanged. */
evn_status evn_slot_extend(evn_slot *s, evn_block_pool *p, uint32_t n_positions, evn_error *err);
/* Keeps the first n_positions and frees the cache blocks behind them. Returns the number of positions that are left.
 * It is smaller if the cut would be inside a shared block, because the slot may append to its last block. */
uint32_t evn_slot_truncate(evn_slot *s, evn_block_pool *p, uint32_t n_positions);
void evn_slot_free(evn_slot *s, evn_block_pool *p);

/* One more user of a cache block, and one less. A block that nobody uses is free. */
void evn_pool_hold(evn_block_pool *p, uint32_t block);
void evn_pool_release(evn_block_pool *p, uint32_t block);
/* The slot becomes one more user of a block, which holds the 64 positions behind those of its table. A shared block
 * is only read: new positions go to blocks of the slot's own. */
evn_status evn_slot_append(evn_slot *s, evn_block_pool *p, uint32_t block, evn_error *err);

#endif
