/* pages.c - memory for devices that compute in the host's memory, in huge pages if the system has them. A token reads
 * all weights once, from end to end. With 4 KiB pages this waits for address translation every few hundred bytes
 * (PoCL 3.1 on a virtual machine: products 10 to 25 % slower). Buffers are taken from a chunk one after the other.
 * The huge pages inside a freed buffer go back to the system at once. A chunk is freed when the driver has destroyed
 * the last of its buffers, which it does in a thread of its own choice. */
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

void evn_chunk_release(evn_chunk *c)
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

/* The chunk for the next buffer of this many bytes. A large buffer has its own chunk. The device's lock is held. */
static evn_chunk *chunk_for(evn_device *d, uint64_t bytes)
{
	if (bytes > CHUNK_BYTES)
		return make_chunk(bytes);
	if (!d->chunk || d->chunk->bytes - d->chunk->used < bytes) {
		evn_chunk_release(d->chunk);
		d->chunk = make_chunk(CHUNK_BYTES);
	}
	if (d->chunk)
		atomic_fetch_add(&d->chunk->users, 1);
	return d->chunk;
}

evn_pages *evn_pages_get(evn_device *d, uint64_t bytes)
{
	evn_pages *p = malloc(sizeof *p);
	if (!p)
		return NULL;
	*p = (evn_pages){.bytes = evn_round_up(bytes, ALIGN_BYTES)};
	pthread_mutex_lock(&d->lock);
	p->chunk = chunk_for(d, p->bytes);
	if (p->chunk) {
		p->begin = p->chunk->begin + p->chunk->used;
		p->chunk->used += p->bytes;
	}
	pthread_mutex_unlock(&d->lock);
	if (p->chunk)
		return p;
	free(p);
	return NULL;
}

void evn_pages_free(evn_pages *p)
{
	const uint64_t at = (uint64_t)(p->begin - p->chunk->begin);
	const uint64_t first = evn_round_up(at, HUGE_BYTES), end = (at + p->bytes) / HUGE_BYTES * HUGE_BYTES;
	if (first < end)
		madvise(p->chunk->begin + first, end - first, MADV_DONTNEED);
	evn_chunk_release(p->chunk);
	free(p);
}
