/* cache.h - one rank's part of the KV cache: for each attention block of the model, the keys and values of the KV
 * heads that the rank holds, in a pool of blocks of 64 positions (blocks.h says which sequence has which). */
#ifndef EVN_CACHE_H
#define EVN_CACHE_H

#include "nn/blocks.h"
#include "nn/shard.h"

typedef struct {
	const evn_shard *shard;
	evn_kv_cache format;
	uint32_t n_blocks;
	evn_buf **k, **v; /* [block of the graph]; NULL where the rank has no keys */
} evn_cache;

evn_status evn_cache_create(evn_cache **out, evn_queue *q, const evn_shard *s, evn_kv_cache format, uint32_t n_blocks,
							evn_error *err);
void evn_cache_free(evn_cache *c);
/* Room for n_blocks; what the blocks hold stays. Waits for the queue. Where this fails the cache is as before. */
evn_status evn_cache_grow(evn_cache *c, evn_queue *q, uint32_t n_blocks, evn_error *err);

/* One KV head (counted from the first that is held) of one block of the graph, for the slot's first n_positions
 * rounded up to whole blocks: first a block's keys, then its values, evn_kv_block_bytes each. Another rank's cache of
 * the same format can take it. Blocks until it is done. */
uint64_t evn_cache_head_bytes(const evn_cache *c, uint32_t block, uint32_t n_positions);
evn_status evn_cache_export(evn_cache *c, evn_queue *q, uint32_t block, uint32_t kv_head, const evn_slot *slot,
							uint32_t n_positions, void *host, evn_error *err);
evn_status evn_cache_import(evn_cache *c, evn_queue *q, uint32_t block, uint32_t kv_head, const evn_slot *slot,
							uint32_t n_positions, const void *host, evn_error *err);

#endif
