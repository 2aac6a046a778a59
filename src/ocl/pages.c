/* pages.c - memory for devices that compute in the host's memory, in huge pages if the system has them. A token reads
 * all weights once, from end to end. With 4 KiB pages this waits for address translation every few hundred bytes
 * (PoCL 3.1 on a virtual machine: products 10 to 25 % slower). Buffers are taken from a chunk one after the other. A
 * chunk is freed when the driver has destroyed the last of its buffers, which it does in a thread of its own choice.
 */
#include "ocl/internal.h"

#include <stdlib.h>
#include <sys/mman.h>

#define CHUNK_BYTES ((uint64_t)32 << 20)
#define HUGE_BYTES ((uint64_t)2 << 20)
#define ALIGN_BYTES 4096u

struct evn_chunk {
	uint8_t *mapped, *begin; /* the mapping, and its first huge page */
	uint64_t mapped_bytes, bytes, used;
	atomic_uint users; /* the buffers, and the device while it takes buffers from the chunk */
};

void evn_pages_give_back(evn_chunk *c)
{
	if (!c || atomic_fetch_sub(&c->users, 1) > 1)
		return;
	munmap(c->mapped, c->mapped_bytes);
	free(c);
}

static evn_chunk *make_chunk(uint64_t bytes)
{
	evn_chunk *c = calloc(1, sizeof *c);
	if (!c)
		return NULL;
	*c = (evn_chunk){.bytes = evn_round_up(bytes, HUGE_BYTES), .users = 1};
	c->mapped_bytes = c->bytes + HUGE_BYTES;
	c->mapped = mmap(NULL, c->mapped_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (c->mapped == MAP_FAILED) {
		free(c);
		return NULL;
	}
	c->begin = c->mapped + (evn_round_up((uintptr_t)c->mapped, HUGE_BYTES) - (uintptr_t)c->mapped);
#ifdef MADV_HUGEPAGE
	madvise(c->begin, c->bytes, MADV_HUGEPAGE);
#endif
	return c;
}

void *evn_pages_get(evn_device *d, uint64_t bytes, evn_chunk **chunk)
{
	void *at = NULL;
	uint64_t size = evn_round_up(bytes, ALIGN_BYTES);
	pthread_mutex_lock(&d->lock);
	if (!d->chunk || d->chunk->bytes - d->chunk->used < size) {
		evn_pages_give_back(d->chunk);
		d->chunk = make_chunk(size > CHUNK_BYTES ? size : CHUNK_BYTES);
	}
	if (d->chunk) {
		at = d->chunk->begin + d->chunk->used;
		d->chunk->used += size;
		atomic_fetch_add(&d->chunk->users, 1);
	}
	*chunk = d->chunk;
	pthread_mutex_unlock(&d->lock);
	return at;
}
