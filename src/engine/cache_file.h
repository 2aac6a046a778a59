/* cache_file.h - keys and values of a slot in a file, independent of how heads are divided over ranks.
 *
 *     header        struct header
 *     ids           int32_t[n]
 *     heads         for each attention block of the graph and each of its KV heads: evn_cache_head_bytes
 *     checksum      uint64_t, evn_hash over all before it
 */
#ifndef EVN_CACHE_FILE_H
#define EVN_CACHE_FILE_H

#include "engine/engine.h"

/* The engine's lock must be held. The slot holds the n ids. */
evn_status evn_cache_file_write(evn_engine *e, const char *path, const evn_slot *slot, const int32_t *ids, uint32_t n,
								evn_error *err);

typedef struct evn_cache_file evn_cache_file;
/* Checks the header and the size, and reads the ids. */
evn_status evn_cache_file_open(evn_cache_file **out, evn_engine *e, const char *path, evn_error *err);
void evn_cache_file_close(evn_cache_file *f);
const int32_t *evn_cache_file_ids(const evn_cache_file *f, uint32_t *n);
/* Reads keys and values into the slot, which has room for the ids. The lock must be held. After a failure the slot's
 * content is undefined. */
evn_status evn_cache_file_read(evn_cache_file *f, const evn_slot *slot, evn_error *err);

#endif
