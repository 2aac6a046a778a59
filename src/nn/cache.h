/* cache.h - one rank's part of the KV cache. For each attention block of the model it holds the keys and values of
 * the rank's KV heads, in a pool of cache blocks of 64 positions. blocks.h says which sequence has which cache
 * block. */
#ifndef EVN_CACHE_H
#define EVN_CACHE_H

#include "nn/blocks.h"
#include "nn/shard.h"

typedef struct {
	const evn_shard *shard;
	evn_kv_cache format;
	uint32_t n_blocks;
	evn_buf **k, **v; /* [block of the graph]; NULL if the rank has no keys of it */
} evn_cache;

evn_status evn_cache_create(evn_cache **out, evn_queue *q, const evn_shard *s, evn_kv_cache format, uint32_t n_blocks,
							evn_error *err);
void evn_cache_free(evn_cache *c);
/* Makes room for n_blocks cache blocks. Their content stays. Waits for the queue. If it fails, the cache is
 * unchanged. */
evn_status evn_cache_grow(evn_cache *c, evn_queue *q, uint32_t n_blocks, evn_error *err);

/* Copies one KV head of one block of the graph to or from host memory. kv_head counts from the first held one. It
 * copies the slot's first n_positions, rounded up to whole cache blocks: for each of them first the keys, then the
 * values, evn_kv_block_bytes each. Another rank's cache of the same format can import the copy. The calls are
 * blocking. */
uint64_t evn_cache_head_bytes(const evn_cache *c, uint32_t block, uint32_t n_positions);
evn_status evn_cache_export(evn_cache *c, evn_queue *q, uint32_t block, uint32_t kv_head, const evn_slot *slot,
							uint32_t n_positions, void *host, evn_error *err);
evn_status evn_cache_import(evn_cache *c, evn_queue *q, uint32_t block, uint32_t kv_head, const evn_slot *slot,
							uint32_t n_positions, const void *host, evn_error *err);

#endif
