/* table.c - see table.h. Open addressing with linear probing; the hash of long keys is SipHash-1-3. */
#include "base/table.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static uint64_t rotate(uint64_t x, int by) { return x << by | x >> (64 - by); }

static void mix(uint64_t v[4])
{
	v[0] += v[1];
	v[1] = rotate(v[1], 13) ^ v[0];
	v[0] = rotate(v[0], 32);
	v[2] += v[3];
	v[3] = rotate(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = rotate(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = rotate(v[1], 17) ^ v[2];
	v[2] = rotate(v[2], 32);
}

static void add_word(uint64_t v[4], uint64_t word)
{
	v[3] ^= word;
	mix(v);
	v[0] ^= word;
}

/* Aumasson & Bernstein 2012, with one round for each word and three at the end. The words are in the machine's byte
 * order: hashes leave no process. */
static uint64_t hash_long(const uint64_t seed[2], const uint8_t *p, size_t size)
{
	uint64_t v[4] = {seed[0] ^ 0x736f6d6570736575u, seed[1] ^ 0x646f72616e646f6du, seed[0] ^ 0x6c7967656e657261u,
					 seed[1] ^ 0x7465646279746573u};
	uint64_t word, last = (uint64_t)size << 56;
	for (; size >= sizeof word; p += sizeof word, size -= sizeof word) {
		memcpy(&word, p, sizeof word);
		add_word(v, word);
	}
	for (size_t i = 0; i < size; i++)
		last |= (uint64_t)p[i] << 8 * i;
	add_word(v, last);
	v[2] ^= 0xff;
	for (int i = 0; i < 3; i++)
		mix(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* A key of at most one word is multiplied twice by secret odd numbers, which takes a quarter of the time: a tokenizer
 * looks up every pair of symbols. A shorter key is filled up with zeros, so at most eight keys have the same word. */
static inline uint64_t hash(const uint64_t seed[2], const void *key, size_t size)
{
	uint64_t word = 0;
	if (size > sizeof word)
		return hash_long(seed, key, size);
	if (size == sizeof word)
		memcpy(&word, key, sizeof word);
	else if (size)
		memcpy(&word, key, size);
	word = (word ^ seed[0]) * (seed[1] | 1);
	word = (word ^ word >> 32) * (seed[0] | 1);
	return word ^ word >> 32;
}

evn_status evn_table_create(evn_table *t, uint32_t n, evn_key_fn key, const void *entries, const char *what,
							evn_error *err)
{
	uint64_t n_slots = 4;
	while (n_slots < 2 * (uint64_t)n)
		n_slots *= 2;
	*t = (evn_table){.mask = n_slots - 1, .key = key, .entries = entries};
	if (getrandom(t->seed, sizeof t->seed, 0) != sizeof t->seed) { /* a sandbox may forbid it */
		evn_random r = {evn_now_ns() ^ (uintptr_t)t};
		t->seed[0] = evn_random_bits(&r);
		t->seed[1] = evn_random_bits(&r);
	}
	t->slots = calloc((size_t)n_slots, sizeof *t->slots);
	return t->slots ? EVN_OK : evn_fail_memory(err, what, n_slots * sizeof *t->slots);
}

void evn_table_clear(evn_table *t)
{
	free(t->slots);
	*t = (evn_table){0};
}

/* The slot that has this key, or the free slot where it belongs. */
static uint32_t *slot_of(const evn_table *t, const void *data, size_t size)
{
	uint64_t at = hash(t->seed, data, size) & t->mask;
	for (; t->slots[at]; at = (at + 1) & t->mask) {
		const evn_key key = t->key(t->entries, t->slots[at] - 1);
		if (key.size == size && memcmp(key.data, data, size) == 0)
			break;
	}
	return &t->slots[at];
}

bool evn_table_add(evn_table *t, uint32_t index)
{
	const evn_key key = t->key(t->entries, index);
	uint32_t *slot = slot_of(t, key.data, key.size);
	if (*slot)
		return false;
	*slot = index + 1;
	return true;
}

uint32_t evn_table_find(const evn_table *t, const void *key, size_t size)
{
	return t->slots ? *slot_of(t, key, size) - 1 : EVN_NOT_FOUND;
}
