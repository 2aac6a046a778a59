#include "engine/prefix.h"

#include <stdlib.h>
#include <string.h>

#define NONE UINT32_MAX

/* What is known of a cache block. The entry of block b is entries[b]. */
typedef struct {
	bool known;
	uint32_t before, next; /* the block before it in the sequence; the next one in its bucket */
	uint32_t n_behind;     /* known blocks whose `before` it is */
	uint64_t used;         /* the time of its last use */
	uint64_t hash;
	int32_t ids[EVN_BLOCK_POSITIONS];
} entry;

struct evn_prefixes {
	evn_block_pool *pool;
	entry *entries;    /* (n) */
	uint32_t *buckets; /* (n_buckets), a power of two */
	uint32_t n, n_buckets;
	uint64_t now; /* counts uses */
};

evn_status evn_prefixes_create(evn_prefixes **out, evn_block_pool *p, evn_error *err)
{
	evn_prefixes *c = *out = calloc(1, sizeof *c);
	if (!c)
		return evn_fail_memory(err, "prefixes", sizeof *c);
	c->pool = p;
	c->n = p->n_blocks;
	for (c->n_buckets = 1; c->n_buckets < c->n;)
		c->n_buckets *= 2;
	c->entries = calloc(c->n, sizeof *c->entries);
	c->buckets = malloc(c->n_buckets * sizeof *c->buckets);
	if (!c->entries || !c->buckets) {
		evn_prefixes_free(c);
		*out = NULL;
		return evn_fail_memory(err, "prefixes", (uint64_t)p->n_blocks * sizeof(entry));
	}
	memset(c->buckets, 0xff, c->n_buckets * sizeof *c->buckets);
	return EVN_OK;
}

void evn_prefixes_free(evn_prefixes *c)
{
	if (!c)
		return;
	for (uint32_t i = 0; c->entries && i < c->n; i++)
		if (c->entries[i].known)
			evn_pool_release(c->pool, i);
	free(c->entries);
	free(c->buckets);
	free(c);
}

static uint64_t hash_of(const evn_prefixes *c, uint32_t before, const int32_t *ids)
{
	const uint64_t start = before == NONE ? EVN_HASH_START : c->entries[before].hash;
	return evn_hash(start, ids, EVN_BLOCK_POSITIONS * sizeof *ids);
}

/* The known block with these ids behind `before`. */
static uint32_t find(const evn_prefixes *c, uint32_t before, const int32_t *ids)
{
	const uint64_t hash = hash_of(c, before, ids);
	uint32_t at = c->buckets[hash & (c->n_buckets - 1)];
	for (; at != NONE; at = c->entries[at].next) {
		const entry *e = &c->entries[at];
		if (e->hash == hash && e->before == before && !memcmp(e->ids, ids, sizeof e->ids))
			break;
	}
	return at;
}

uint32_t evn_prefix_length(const evn_prefixes *c, const int32_t *ids, uint32_t n)
{
	uint32_t length = 0;
	for (uint32_t at = NONE; length < n / EVN_BLOCK_POSITIONS; length++) {
		at = find(c, at, ids + length * EVN_BLOCK_POSITIONS);
		if (at == NONE)
			break;
	}
	return length;
}

evn_status evn_prefix_take(evn_prefixes *c, const int32_t *ids, uint32_t n, evn_slot *slot, uint32_t *n_shared,
						   evn_error *err)
{
	uint32_t at = NONE;
	*n_shared = 0;
	c->now++;
	while (*n_shared + EVN_BLOCK_POSITIONS <= n) {
		at = find(c, at, ids + *n_shared);
		if (at == NONE)
			break;
		EVN_TRY(evn_slot_append(slot, c->pool, at, err));
		c->entries[at].used = c->now;
		*n_shared += EVN_BLOCK_POSITIONS;
	}
	return EVN_OK;
}

static void enter(evn_prefixes *c, uint32_t block, uint32_t before, const int32_t *ids)
{
	entry *e = &c->entries[block];
	*e = (entry){.known = true, .before = before, .hash = hash_of(c, before, ids)};
	memcpy(e->ids, ids, sizeof e->ids);
	uint32_t *bucket = &c->buckets[e->hash & (c->n_buckets - 1)];
	e->next = *bucket;
	*bucket = block;
	if (before != NONE)
		c->entries[before].n_behind++;
	evn_pool_hold(c->pool, block);
}

void evn_prefix_keep(evn_prefixes *c, const int32_t *ids, uint32_t n, const evn_slot *slot)
{
	uint32_t before = NONE;
	c->now++;
	for (uint32_t i = 0; i < n / EVN_BLOCK_POSITIONS; i++) {
		const int32_t *own = ids + i * EVN_BLOCK_POSITIONS;
		uint32_t at = find(c, before, own);
		if (at == NONE) {
			at = slot->table[i];
			if (at >= c->n ||
				c->entries[at].known) /* of a pool that has grown; known: two sequences would write it */
				return;
			enter(c, at, before, own);
		}
		c->entries[at].used = c->now;
		before = at;
	}
}

static void forget(evn_prefixes *c, uint32_t block)
{
	entry *e = &c->entries[block];
	uint32_t *link = &c->buckets[e->hash & (c->n_buckets - 1)];
	while (*link != block)
		link = &c->entries[*link].next;
	*link = e->next;
	if (e->before != NONE)
		c->entries[e->before].n_behind--;
	e->known = false;
	evn_pool_release(c->pool, block);
}

static bool is_unused(const evn_prefixes *c, uint32_t block)
{
	return c->entries[block].known && c->pool->n_users[block] == 1;
}

bool evn_prefixes_make_room(evn_prefixes *c, uint32_t n_free)
{
	while (c->pool->n_free < n_free) {
		uint32_t oldest = NONE;
		for (uint32_t i = 0; i < c->n; i++)
			if (is_unused(c, i) && !c->entries[i].n_behind &&
				(oldest == NONE || c->entries[i].used < c->entries[oldest].used))
				oldest = i;
		if (oldest == NONE)
			return false;
		forget(c, oldest);
	}
	return true;
}

uint32_t evn_prefixes_unused(const evn_prefixes *c)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < c->n; i++)
		n += is_unused(c, i);
	return n;
}
