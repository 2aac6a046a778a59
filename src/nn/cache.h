/* cache.h - one rank's part of the KV cache. For each attention block of the model it holds the keys and values of
 * the rank's KV heads, in a pool of cache blocks of 64 positions. blocks.h says which sequence has which cache
 * block.
 *
 * For each DeltaNet it holds states instead: two for each sequence that has one, whatever its length. */
#ifndef EVN_CACHE_H
#define EVN_CACHE_H

#include "nn/blocks.h"
#include "nn/shard.h"

/* The keys and values of one block of the graph. Empty if the rank has no KV heads of it. Of a DeltaNet: n_heads
 * value heads; k has the states (place, head, state, state), a row for each entry of a key; v the inputs of the
 * convolution at the last positions (place, taps - 1, channels), the newest last. */
typedef struct {
	evn_buf *k, *v;
	uint32_t n_heads, n_keys; /* n_keys: key heads of a DeltaNet */
} evn_cache_part;

typedef struct {
	const evn_graph *graph;
	evn_kv_cache format;
	uint32_t n_blocks, n_states;
	evn_cache_part *parts; /* [block of the graph] */
} evn_cache;

evn_status evn_cache_create(evn_cache **out, evn_queue *q, const evn_shard *s, evn_kv_cache format, uint32_t n_blocks,
							evn_error *err);
void evn_cache_free(evn_cache *c);
/* Makes room for n_blocks cache blocks. Their content stays. Waits for the queue. If it fails, the cache is
 * unchanged. */
evn_status evn_cache_grow(evn_cache *c, evn_queue *q, uint32_t n_blocks, evn_error *err);

/* Copies what all blocks of the graph have in one cache block to another one. */
evn_status evn_cache_copy_block(const evn_cache *c, evn_queue *q, uint32_t from, uint32_t to, evn_error *err);

/* Makes room for the states of n_states sequences, like evn_cache_grow. A new cache has room for none. */
evn_status evn_cache_grow_states(evn_cache *c, evn_queue *q, uint32_t n_states, evn_error *err);
/* The bytes of what a value head of a DeltaNet has for one sequence: its states, and the inputs of the convolution as
 * if no other head had its key head. */
uint64_t evn_state_bytes(const evn_block *b);

/* Room for other KV heads of one block of the graph. It can take the place of a part of c, which the caller frees. */
evn_status evn_cache_make_part(evn_cache_part *out, const evn_cache *c, evn_queue *q, uint32_t block,
							   uint32_t n_heads, evn_error *err);
void evn_cache_part_free(evn_cache_part *p);

/* What a sequence has in the cache of one KV head of one block of the graph. kv_head counts from the first held one.
 * It is the slot's first n_positions, rounded up to whole cache blocks. */
typedef struct {
	uint32_t block, kv_head;
	const evn_slot *slot;
	uint32_t n_positions;
	const evn_cache_part *part; /* NULL: that of the cache */
} evn_cache_head;

/* Copies a head to or from host memory: for each cache block first the keys, then the values, evn_kv_block_bytes
 * each. Another rank's cache of the same format can import the copy. The calls are blocking. */
uint64_t evn_cache_head_bytes(const evn_cache *c, uint32_t block, uint32_t n_positions);
evn_status evn_cache_export(const evn_cache *c, evn_queue *q, const evn_cache_head *h, void *host, evn_error *err);
evn_status evn_cache_import(const evn_cache *c, evn_queue *q, const evn_cache_head *h, const void *host,
							evn_error *err);

#endif
