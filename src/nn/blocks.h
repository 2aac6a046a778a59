/* blocks.h - who holds which block of the KV cache. The cache of every rank is a pool of blocks of 64 positions; a
 * block has the same number on all ranks, so this is host arithmetic, done once for all of them.
 *
 * Blocks are counted by how many slots refer to them: sequences that begin alike can share whole blocks. Not
 * thread-safe: the engine's lock is held. */
#ifndef EVN_BLOCKS_H
#define EVN_BLOCKS_H

#include "base/base.h"

#define EVN_BLOCK_POSITIONS 64u /* EVN_KV_BLOCK_TILES tiles of EVN_KV_TILE in kernels/constants.h */
static inline uint32_t evn_blocks_for(uint32_t n_positions)
{
	return (n_positions + EVN_BLOCK_POSITIONS - 1) / EVN_BLOCK_POSITIONS;
}

/* A sequence's table: block i holds its positions from 64 i on. Zero-initialise. */
typedef struct {
	uint32_t n_blocks, room, *table;
} evn_slot;

typedef struct {
	uint32_t n_blocks, n_free;
	uint32_t *free_list; /* (n_blocks) the last n_free are free */
	uint32_t *n_users;   /* (n_blocks) */
} evn_block_pool;

/* The pool has n_blocks from now on, at least as many as before. */
evn_status evn_pool_grow(evn_block_pool *p, uint32_t n_blocks, evn_error *err);
void evn_pool_free(evn_block_pool *p);

/* The slot gets blocks for n_positions in all. EVN_ERR_LIMIT where the pool has too few; the slot is unchanged then.
 */
evn_status evn_slot_extend(evn_slot *s, evn_block_pool *p, uint32_t n_positions, evn_error *err);
/* Keeps the first n_positions and gives back the blocks behind them. Returns how many positions are left: fewer where
 * the cut would fall into a block that is shared, for the slot may append to its last block. */
uint32_t evn_slot_truncate(evn_slot *s, evn_block_pool *p, uint32_t n_positions);
/* `to`, which is empty, shares the whole blocks among the first n_positions of `from`; returns how many positions
 * these hold. Whoever shares a block only reads it: what is appended goes to blocks of the slot's own. */
evn_status evn_slot_share(evn_slot *to, const evn_slot *from, evn_block_pool *p, uint32_t n_positions,
						  uint32_t *n_shared, evn_error *err);
void evn_slot_free(evn_slot *s, evn_block_pool *p);

#endif
