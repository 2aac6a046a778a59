#include "nn/cache.h"

#include <stdlib.h>

#include "nn/ops_attention.h"

static uint32_t heads_of(const evn_cache *c, uint32_t block) { return evn_range_len(c->shard->blocks[block].groups); }

static bool attends(const evn_cache *c, uint32_t block)
{
	return c->shard->graph->blocks[block].kind == EVN_BLOCK_ATTENTION && heads_of(c, block) > 0;
}

/* The bytes of the keys, or of the values, of one KV head in one cache block. */
static uint64_t head_bytes(const evn_cache *c, uint32_t block)
{
	return evn_kv_block_bytes(c->format, c->shard->graph->blocks[block].attention.head_dim);
}

static void free_bufs(evn_buf **bufs, uint32_t n)
{
	for (uint32_t i = 0; i < n && bufs; i++)
		evn_buf_free(bufs[i]);
	free(bufs);
}

static evn_status make_buf(const evn_cache *c, evn_queue *q, uint32_t block, uint32_t n_blocks, evn_buf **out,
						   evn_error *err)
{
	const uint64_t bytes = (uint64_t)n_blocks * heads_of(c, block) * head_bytes(c, block);
	EVN_TRY(evn_buf_create(out, evn_queue_device(q), bytes, EVN_BUF_DEVICE, "KV cache", err));
	evn_error why = {0};
	evn_status s = evn_buf_touch(q, *out, &why);
	return s == EVN_OK ? s : evn_fail(err, s, "KV cache of %u tokens: %s", n_blocks * EVN_BLOCK_POSITIONS, why.text);
}

static evn_status make_bufs(const evn_cache *c, evn_queue *q, uint32_t n_blocks, evn_buf ***out, evn_error *err)
{
	const uint32_t n = c->shard->graph->n_blocks;
	evn_buf **bufs = *out = calloc(n + 1u, sizeof *bufs); /* + 1: a graph may have no blocks */
	if (!bufs)
		return evn_fail_memory(err, "KV cache", n * sizeof *bufs);
	for (uint32_t i = 0; i < n; i++)
		if (attends(c, i))
			EVN_TRY(make_buf(c, q, i, n_blocks, &bufs[i], err));
	return EVN_OK;
}

evn_status evn_cache_create(evn_cache **out, evn_queue *q, const evn_shard *s, evn_kv_cache format, uint32_t n_blocks,
							evn_error *err)
{
	evn_cache *c = *out = calloc(1, sizeof *c);
	if (!c)
		return evn_fail_memory(err, "KV cache", sizeof *c);
	*c = (evn_cache){.shard = s, .format = format, .n_blocks = n_blocks};
	EVN_TRY(make_bufs(c, q, n_blocks, &c->k, err));
	EVN_TRY(make_bufs(c, q, n_blocks, &c->v, err));
	return evn_device_unified_memory(evn_queue_device(q)) ? EVN_OK : evn_queue_finish(q, err);
}

void evn_cache_free(evn_cache *c)
{
	if (!c)
		return;
	free_bufs(c->k, c->shard->graph->n_blocks);
	free_bufs(c->v, c->shard->graph->n_blocks);
	free(c);
}

static evn_status copy_all(const evn_cache *c, evn_queue *q, evn_buf *const *to, evn_buf *const *from, evn_error *err)
{
	for (uint32_t i = 0; i < c->shard->graph->n_blocks; i++)
		if (from[i])
			EVN_TRY(
				evn_copy(q, to[i], 0, from[i], 0, (uint64_t)c->n_blocks * heads_of(c, i) * head_bytes(c, i), err));
	return evn_queue_finish(q, err);
}

evn_status evn_cache_grow(evn_cache *c, evn_queue *q, uint32_t n_blocks, evn_error *err)
{
	const uint32_t n = c->shard->graph->n_blocks;
	evn_buf **k = NULL, **v = NULL;
	if (n_blocks <= c->n_blocks)
		return EVN_OK;
	evn_status s = make_bufs(c, q, n_blocks, &k, err);
	if (s == EVN_OK)
		s = make_bufs(c, q, n_blocks, &v, err);
	if (s == EVN_OK)
		s = copy_all(c, q, k, c->k, err);
	if (s == EVN_OK)
		s = copy_all(c, q, v, c->v, err);
	if (s != EVN_OK) {
		free_bufs(k, n);
		free_bufs(v, n);
		return s;
	}
	free_bufs(c->k, n);
	free_bufs(c->v, n);
	c->k = k;
	c->v = v;
	c->n_blocks = n_blocks;
	return EVN_OK;
}

/* ---- a head's keys and values ---------------------------------------------------------------------------------- */

uint64_t evn_cache_head_bytes(const evn_cache *c, uint32_t block, uint32_t n_positions)
{
	return 2 * (uint64_t)evn_blocks_for(n_positions) * head_bytes(c, block);
}

typedef evn_status (*transfer)(evn_queue *q, evn_buf *b, uint64_t offset, void *host, uint64_t bytes, evn_error *err);

static evn_status to_host(evn_queue *q, evn_buf *b, uint64_t offset, void *host, uint64_t bytes, evn_error *err)
{
	return evn_read(q, b, offset, host, bytes, err);
}

static evn_status from_host(evn_queue *q, evn_buf *b, uint64_t offset, void *host, uint64_t bytes, evn_error *err)
{
	return evn_write(q, b, offset, host, bytes, err);
}

static evn_status move_head(evn_cache *c, evn_queue *q, uint32_t block, uint32_t kv_head, const evn_slot *slot,
							uint32_t n_positions, transfer move, uint8_t *host, evn_error *err)
{
	const uint64_t bytes = head_bytes(c, block);
	if (kv_head >= heads_of(c, block) || !attends(c, block) || evn_blocks_for(n_positions) > slot->n_blocks)
		return evn_fail(
			err, EVN_ERR_USAGE,
			"KV cache: cannot copy head %u and %u positions of block %u, which has %u heads and %u positions",
			kv_head, n_positions, block, heads_of(c, block), slot->n_blocks * EVN_BLOCK_POSITIONS);
	for (uint32_t i = 0; i < evn_blocks_for(n_positions); i++, host += 2 * bytes) {
		const uint64_t at = ((uint64_t)slot->table[i] * heads_of(c, block) + kv_head) * bytes;
		EVN_TRY(move(q, c->k[block], at, host, bytes, err));
		EVN_TRY(move(q, c->v[block], at, host + bytes, bytes, err));
	}
	return EVN_OK;
}

evn_status evn_cache_export(evn_cache *c, evn_queue *q, uint32_t block, uint32_t kv_head, const evn_slot *slot,
							uint32_t n_positions, void *host, evn_error *err)
{
	return move_head(c, q, block, kv_head, slot, n_positions, to_host, host, err);
}

evn_status evn_cache_import(evn_cache *c, evn_queue *q, uint32_t block, uint32_t kv_head, const evn_slot *slot,
							uint32_t n_positions, const void *host, evn_error *err)
{
	return move_head(c, q, block, kv_head, slot, n_positions, from_host, (uint8_t *)(uintptr_t)host, err);
}
