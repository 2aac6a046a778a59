/* table.h - a hash table from keys to the indexes of the caller's entries. Keys come from files that may be hostile,
 * so every table has a secret seed: nobody can choose keys that collide. */
#ifndef EVN_TABLE_H
#define EVN_TABLE_H

#include "base/base.h"

typedef struct {
	const void *data;
	size_t size;
} evn_key;

/* The key of entry `index`. It must stay where it is as long as the table is used. */
typedef evn_key (*evn_key_fn)(const void *entries, uint32_t index);

/* Zero-initialise. */
typedef struct {
	uint32_t *slots; /* the index of an entry, plus 1; 0: free */
	uint64_t mask, seed[2];
	evn_key_fn key;
	const void *entries;
} evn_table;

#define EVN_NOT_FOUND UINT32_MAX

/* An empty table for up to n entries. `what` is for the message if there is no memory. */
evn_status evn_table_create(evn_table *t, uint32_t n, evn_key_fn key, const void *entries, const char *what,
							evn_error *err);
void evn_table_clear(evn_table *t);
/* Adds entry `index`. False if the table has an entry with this key, which then stays the one that is found. */
bool evn_table_add(evn_table *t, uint32_t index);
/* The index of the entry with this key, or EVN_NOT_FOUND. */
uint32_t evn_table_find(const evn_table *t, const void *key, size_t size);

#endif
