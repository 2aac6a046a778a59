#include "engine/prefix.h"

#include <stdlib.h>
#include <string.h>

#define NONE UINT32_MAX

/* What is known of a cache block. The entry of block b is entries[b]. One with fewer than EVN_BLOCK_POSITIONS ids is
 * a tail, and in no bucket. */
typedef struct {
	bool known;
	uint32_t n_ids;
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
	evn_parked *parked;
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

void evn_prefixes_forget(evn_prefixes *c)
{
	while (evn_parked_drop(&c->parked, c->pool))
		continue;
	for (uint32_t i = 0; i < c->n; i++)
		if (c->entries[i].known)
			evn_pool_release(c->pool, i);
	memset(c->entries, 0, c->n * sizeof *c->entries);
	memset(c->buckets, 0xff, c->n_buckets * sizeof *c->buckets);
}

void evn_prefixes_free(evn_prefixes *c)
{
	if (!c)
		return;
	if (c->entries && c->buckets)
		evn_prefixes_forget(c);
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

static bool is_whole(const entry *e) { return e->n_ids == EVN_BLOCK_POSITIONS; }

static void forget(evn_prefixes *c, uint32_t block)
{
	entry *e = &c->entries[block];
	if (is_whole(e)) {
		uint32_t *link = &c->buckets[e->hash & (c->n_buckets - 1)];
		while (*link != block)
			link = &c->entries[*link].next;
		*link = e->next;
	}
	if (e->before != NONE)
		c->entries[e->before].n_behind--;
	e->known = false;
	evn_pool_release(c->pool, block);
}

static uint32_t least(uint32_t a, uint32_t b) { return a < b ? a : b; }

/* The longest tail behind `before` that begins the n ids, or that they begin. */
static uint32_t find_tail(const evn_prefixes *c, uint32_t before, const int32_t *ids, uint32_t n)
{
	uint32_t found = NONE;
	for (uint32_t i = 0; n && i < c->n; i++) {
		const entry *e = &c->entries[i];
		if (e->known && !is_whole(e) && e->before == before &&
			(found == NONE || e->n_ids > c->entries[found].n_ids) &&
			!memcmp(e->ids, ids, least(e->n_ids, n) * sizeof *ids))
			found = i;
	}
	return found;
}

/* The slot becomes the only user of a tail, as it writes behind the ids that are there. */
static evn_status take_tail(evn_prefixes *c, uint32_t before, const int32_t *ids, uint32_t n, evn_slot *slot,
							uint32_t *n_taken, evn_error *err)
{
	const uint32_t tail = find_tail(c, before, ids, n);
	*n_taken = 0;
	if (tail == NONE)
		return EVN_OK;
	EVN_TRY(evn_slot_append(slot, c->pool, tail, err));
	*n_taken = least(c->entries[tail].n_ids, n);
	forget(c, tail);
	return EVN_OK;
}

evn_status evn_prefix_take(evn_prefixes *c, const int32_t *ids, uint32_t n, evn_slot *slot, uint32_t *n_shared,
						   evn_error *err)
{
	uint32_t before = NONE, n_taken;
	*n_shared = c->pool->n_states ? evn_unpark(&c->parked, ids, n, slot) : 0;
	if (c->pool->n_states)
		return EVN_OK;
	c->now++;
	while (*n_shared + EVN_BLOCK_POSITIONS <= n) {
		const uint32_t at = find(c, before, ids + *n_shared);
		if (at == NONE)
			break;
		EVN_TRY(evn_slot_append(slot, c->pool, at, err));
		c->entries[at].used = c->now;
		*n_shared += EVN_BLOCK_POSITIONS;
		before = at;
	}
	EVN_TRY(take_tail(c, before, ids + *n_shared, n - *n_shared, slot, &n_taken, err));
	*n_shared += n_taken;
	return EVN_OK;
}

static void enter(evn_prefixes *c, uint32_t block, uint32_t before, const int32_t *ids, uint32_t n)
{
	entry *e = &c->entries[block];
	*e = (entry){.known = true, .n_ids = n, .before = before, .used = c->now};
	memcpy(e->ids, ids, n * sizeof *ids);
	if (is_whole(e)) {
		e->hash = hash_of(c, before, ids);
		uint32_t *bucket = &c->buckets[e->hash & (c->n_buckets - 1)];
		e->next = *bucket;
		*bucket = block;
	}
	if (before != NONE)
		c->entries[before].n_behind++;
	evn_pool_hold(c->pool, block);
}

/* A block of a pool that has grown has no entry. One that is known already would be written by two sequences. */
static bool may_enter(const evn_prefixes *c, uint32_t block) { return block < c->n && !c->entries[block].known; }

void evn_prefix_keep(evn_prefixes *c, const int32_t *ids, uint32_t n, const evn_slot *slot)
{
	uint32_t before = NONE;
	if (c->pool->n_states)
		return;
	c->now++;
	for (uint32_t i = 0; i < n / EVN_BLOCK_POSITIONS; i++) {
		const int32_t *own = ids + i * EVN_BLOCK_POSITIONS;
		uint32_t at = find(c, before, own);
		if (at == NONE) {
			at = slot->table[i];
			if (!may_enter(c, at))
				return;
			enter(c, at, before, own, EVN_BLOCK_POSITIONS);
		}
		c->entries[at].used = c->now;
		before = at;
	}
}

/* The block of the last whole one of n ids; false if it is not known. */
static bool find_last(const evn_prefixes *c, const int32_t *ids, uint32_t n, uint32_t *at)
{
	*at = NONE;
	for (uint32_t i = 0; i < n / EVN_BLOCK_POSITIONS; i++) {
		*at = find(c, *at, ids + i * EVN_BLOCK_POSITIONS);
		if (*at == NONE)
			return false;
	}
	return true;
}

void evn_prefix_keep_tail(evn_prefixes *c, const int32_t *ids, uint32_t n, evn_slot *slot)
{
	const uint32_t n_tail = n % EVN_BLOCK_POSITIONS;
	uint32_t before, other;
	if (n && slot->n_state == n)
		evn_park(&c->parked, ids, n, slot);
	if (c->pool->n_states || !n_tail || !find_last(c, ids, n, &before) ||
		!may_enter(c, slot->table[n / EVN_BLOCK_POSITIONS]))
		return;
	const int32_t *own = ids + n - n_tail;
	c->now++;
	while ((other = find_tail(c, before, own, n_tail)) != NONE && c->entries[other].n_ids <= n_tail)
		forget(c, other); /* this one says as much */
	if (other == NONE)
		enter(c, slot->table[n / EVN_BLOCK_POSITIONS], before, own, n_tail);
	else
		c->entries[other].used = c->now;
}

static bool is_unused(const evn_prefixes *c, uint32_t block)
{
	return c->entries[block].known && c->pool->n_users[block] == 1;
}

bool evn_prefixes_make_room(evn_prefixes *c, uint32_t n_free)
{
	while (c->pool->n_free < n_free) {
		uint32_t oldest = NONE;
		if (evn_parked_drop(&c->parked, c->pool))
			continue;
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

bool evn_prefixes_make_state(evn_prefixes *c)
{
	while (!c->pool->n_free_states)
		if (!evn_parked_drop(&c->parked, c->pool))
			return false;
	return true;
}

uint32_t evn_prefixes_unused(const evn_prefixes *c)
{
	uint32_t n = evn_parked_blocks(c->parked);
	for (uint32_t i = 0; i < c->n; i++)
		n += is_unused(c, i);
	return n;
}
