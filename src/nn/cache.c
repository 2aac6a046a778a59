#include "nn/cache.h"

#include <stdlib.h>

#include "nn/ops_attention.h"

/* The bytes of the keys, or of the values, of one KV head in one cache block. */
static uint64_t head_bytes(const evn_cache *c, uint32_t block)
{
	return evn_kv_block_bytes(c->format, c->graph->blocks[block].attention.head_dim);
}

void evn_cache_part_free(evn_cache_part *p)
{
	evn_buf_free(p->k);
	evn_buf_free(p->v);
	*p = (evn_cache_part){0};
}

static void free_parts(evn_cache_part *parts, uint32_t n)
{
	for (uint32_t i = 0; i < n && parts; i++)
		evn_cache_part_free(&parts[i]);
	free(parts);
}

static evn_status make_buf(evn_queue *q, uint64_t bytes, uint32_t n_blocks, evn_buf **out, evn_error *err)
{
	EVN_TRY(evn_buf_create(out, evn_queue_device(q), bytes, EVN_BUF_DEVICE, "KV cache", err));
	evn_error why = {0};
	evn_status s = evn_buf_touch(q, *out, &why);
	return s == EVN_OK ? s : evn_fail(err, s, "KV cache of %u tokens: %s", n_blocks * EVN_BLOCK_POSITIONS, why.text);
}

/* Buffers for out->n_heads. */
static evn_status make_part(evn_cache_part *out, const evn_cache *c, evn_queue *q, uint32_t block, uint32_t n_blocks,
							evn_error *err)
{
	const uint64_t bytes = (uint64_t)n_blocks * out->n_heads * head_bytes(c, block);
	if (!out->n_heads)
		return EVN_OK;
	EVN_TRY(make_buf(q, bytes, n_blocks, &out->k, err));
	return make_buf(q, bytes, n_blocks, &out->v, err);
}

evn_status evn_cache_make_part(evn_cache_part *out, const evn_cache *c, evn_queue *q, uint32_t block,
							   uint32_t n_heads, evn_error *err)
{
	*out = (evn_cache_part){.n_heads = n_heads};
	return make_part(out, c, q, block, c->n_blocks, err);
}

static evn_status alloc_parts(const evn_cache *c, evn_cache_part **out, evn_error *err)
{
	*out = calloc(c->graph->n_blocks + 1u, sizeof **out); /* + 1: a graph may have no blocks */
	return *out ? EVN_OK : evn_fail_memory(err, "KV cache", c->graph->n_blocks * sizeof **out);
}

static evn_status make_all(evn_cache *c, evn_queue *q, const evn_shard *s, evn_error *err)
{
	EVN_TRY(alloc_parts(c, &c->parts, err));
	for (uint32_t i = 0; i < c->graph->n_blocks; i++) {
		const evn_block_kind kind = c->graph->blocks[i].kind;
		if (kind == EVN_BLOCK_DELTA)
			c->parts[i] = (evn_cache_part){.n_heads = evn_range_len(s->blocks[i].units),
										   .n_keys = evn_range_len(s->blocks[i].groups)};
		if (kind != EVN_BLOCK_ATTENTION)
			continue;
		c->parts[i].n_heads = c->graph->blocks[i].attention.shares ? 0 : evn_range_len(s->blocks[i].groups);
		EVN_TRY(make_part(&c->parts[i], c, q, i, c->n_blocks, err));
	}
	return evn_device_unified_memory(evn_queue_device(q)) ? EVN_OK : evn_queue_finish(q, err);
}

evn_status evn_cache_create(evn_cache **out, evn_queue *q, const evn_shard *s, evn_kv_cache format, uint32_t n_blocks,
							evn_error *err)
{
	evn_cache *c = *out = calloc(1, sizeof *c);
	if (!c)
		return evn_fail_memory(err, "KV cache", sizeof *c);
	*c = (evn_cache){.graph = s->graph, .format = format, .n_blocks = n_blocks};
	return make_all(c, q, s, err);
}

void evn_cache_free(evn_cache *c)
{
	if (!c)
		return;
	free_parts(c->parts, c->graph->n_blocks);
	free(c);
}

static evn_status make_larger(const evn_cache *c, evn_queue *q, uint32_t n_blocks, evn_cache_part *parts,
							  evn_error *err)
{
	for (uint32_t i = 0; i < c->graph->n_blocks; i++) {
		const evn_cache_part *from = &c->parts[i];
		if (c->graph->blocks[i].kind != EVN_BLOCK_ATTENTION || !from->n_heads)
			continue;
		const uint64_t bytes = (uint64_t)c->n_blocks * from->n_heads * head_bytes(c, i);
		parts[i].n_heads = from->n_heads;
		EVN_TRY(make_part(&parts[i], c, q, i, n_blocks, err));
		EVN_TRY(evn_copy(q, parts[i].k, 0, from->k, 0, bytes, err));
		EVN_TRY(evn_copy(q, parts[i].v, 0, from->v, 0, bytes, err));
	}
	return evn_queue_finish(q, err);
}

/* Parts that were made take the place of those of the cache; the others of `parts` are empty. If making them failed,
 * all are freed. */
static evn_status take_place(evn_cache *c, evn_cache_part *parts, evn_status made)
{
	for (uint32_t i = 0; i < c->graph->n_blocks && made == EVN_OK; i++) {
		if (!parts[i].n_heads)
			continue;
		const evn_cache_part before = c->parts[i];
		c->parts[i] = parts[i];
		parts[i] = before;
	}
	free_parts(parts, c->graph->n_blocks);
	return made;
}

evn_status evn_cache_grow(evn_cache *c, evn_queue *q, uint32_t n_blocks, evn_error *err)
{
	evn_cache_part *parts;
	if (n_blocks <= c->n_blocks)
		return EVN_OK;
	EVN_TRY(alloc_parts(c, &parts, err));
	const evn_status s = make_larger(c, q, n_blocks, parts, err);
	if (s == EVN_OK)
		c->n_blocks = n_blocks;
	return take_place(c, parts, s);
}

evn_status evn_cache_copy_block(const evn_cache *c, evn_queue *q, uint32_t from, uint32_t to, evn_error *err)
{
	for (uint32_t i = 0; i < c->graph->n_blocks; i++) {
		const evn_cache_part *p = &c->parts[i];
		if (c->graph->blocks[i].kind != EVN_BLOCK_ATTENTION || !p->n_heads)
			continue;
		const uint64_t bytes = p->n_heads * head_bytes(c, i);
		EVN_TRY(evn_copy(q, p->k, to * bytes, p->k, from * bytes, bytes, err));
		EVN_TRY(evn_copy(q, p->v, to * bytes, p->v, from * bytes, bytes, err));
	}
	return EVN_OK;
}

/* ---- states ---------------------------------------------------------------------------------------------------- */

typedef struct {
	uint64_t states, inputs; /* bytes of one place */
} place_bytes;

static place_bytes place_of(const evn_block *b, uint64_t n_heads, uint64_t n_keys)
{
	const uint64_t width = b->unit_width, before = b->delta.taps - 1;
	return (place_bytes){n_heads * width * width * sizeof(float),
						 before * (2 * n_keys + n_heads) * width * sizeof(float)};
}

uint64_t evn_state_bytes(const evn_block *b)
{
	const place_bytes one = place_of(b, 1, 1);
	return 2 * (one.states + one.inputs);
}

static evn_status make_state_buf(evn_queue *q, uint64_t bytes, uint32_t n_states, evn_buf **out, evn_error *err)
{
	evn_error why = {0};
	EVN_TRY(evn_buf_create(out, evn_queue_device(q), bytes, EVN_BUF_DEVICE, "states", err));
	evn_status s = evn_buf_touch(q, *out, &why);
	return s == EVN_OK ? s : evn_fail(err, s, "states of %u sequences: %s", n_states, why.text);
}

static evn_status make_more_states(const evn_cache *c, evn_queue *q, uint32_t n_states, evn_cache_part *parts,
								   evn_error *err)
{
	for (uint32_t i = 0; i < c->graph->n_blocks; i++) {
		const evn_cache_part *from = &c->parts[i];
		if (c->graph->blocks[i].kind != EVN_BLOCK_DELTA || !from->n_heads)
			continue;
		const place_bytes b = place_of(&c->graph->blocks[i], from->n_heads, from->n_keys);
		EVN_TRY(make_state_buf(q, 2 * n_states * b.states, n_states, &parts[i].k, err));
		EVN_TRY(make_state_buf(q, 2 * n_states * b.inputs, n_states, &parts[i].v, err));
		parts[i].n_heads = from->n_heads;
		parts[i].n_keys = from->n_keys;
		if (!from->k)
			continue;
		EVN_TRY(evn_copy(q, parts[i].k, 0, from->k, 0, 2 * c->n_states * b.states, err));
		EVN_TRY(evn_copy(q, parts[i].v, 0, from->v, 0, 2 * c->n_states * b.inputs, err));
	}
	return evn_queue_finish(q, err);
}

evn_status evn_cache_grow_states(evn_cache *c, evn_queue *q, uint32_t n_states, evn_error *err)
{
	evn_cache_part *parts;
	if (!c->graph->has_states || n_states <= c->n_states)
		return EVN_OK;
	EVN_TRY(alloc_parts(c, &parts, err));
	const evn_status s = make_more_states(c, q, n_states, parts, err);
	if (s == EVN_OK)
		c->n_states = n_states;
	return take_place(c, parts, s);
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

static evn_status move_head(const evn_cache *c, evn_queue *q, const evn_cache_head *h, transfer move, uint8_t *host,
							evn_error *err)
{
	const uint64_t bytes = head_bytes(c, h->block);
	const evn_cache_part *part = h->part ? h->part : &c->parts[h->block];
	if (h->kv_head >= part->n_heads || evn_blocks_for(h->n_positions) > h->slot->n_blocks)
		return evn_fail(
			err, EVN_ERR_USAGE,
			"KV cache: cannot copy head %u and %u positions of block %u, which has %u heads and %u positions",
			h->kv_head, h->n_positions, h->block, part->n_heads, h->slot->n_blocks * EVN_BLOCK_POSITIONS);
	for (uint32_t i = 0; i < evn_blocks_for(h->n_positions); i++, host += 2 * bytes) {
		const uint64_t at = ((uint64_t)h->slot->table[i] * part->n_heads + h->kv_head) * bytes;
		EVN_TRY(move(q, part->k, at, host, bytes, err));
		EVN_TRY(move(q, part->v, at, host + bytes, bytes, err));
	}
	return EVN_OK;
}

evn_status evn_cache_export(const evn_cache *c, evn_queue *q, const evn_cache_head *h, void *host, evn_error *err)
{
	return move_head(c, q, h, to_host, host, err);
}

evn_status evn_cache_import(const evn_cache *c, evn_queue *q, const evn_cache_head *h, const void *host,
							evn_error *err)
{
	return move_head(c, q, h, from_host, (uint8_t *)(uintptr_t)host, err);
}
