/* upload.c - fills a buffer from its beginning to its end. On unified memory the buffer is mapped and written in
 * place. Otherwise the data goes through a ring of pinned memory: while one slot travels, the host fills the next.
 * Without it a driver would hold a copy of the whole buffer in the host's memory. */
#include "ocl/internal.h"

#include <stdlib.h>

#define SLOT_BYTES ((uint64_t)8 << 20)

static evn_status wait_slot(evn_queue *q, uint32_t slot, evn_error *err)
{
	evn_upload_ring *r = q->ring;
	if (!r->sent[slot])
		return EVN_OK;
	evn_status s = evn_event_wait(r->sent[slot], q, err);
	evn_event_free(r->sent[slot]);
	r->sent[slot] = NULL;
	return s;
}

void evn_uploads_end(evn_queue *q)
{
	if (!q->ring)
		return;
	for (uint32_t i = 0; i < EVN_UPLOAD_SLOTS; i++)
		wait_slot(q, i, NULL);
	evn_pinned_free(&q->ring->memory, q);
	free(q->ring);
	q->ring = NULL;
}

static uint64_t slot_bytes(const evn_device *d, uint64_t least)
{
	const uint64_t most = d->info->max_alloc_bytes / EVN_UPLOAD_SLOTS, usual = most < SLOT_BYTES ? most : SLOT_BYTES;
	return least > usual ? least : usual;
}

static evn_status make_ring(evn_queue *q, uint64_t slot_bytes, evn_error *err)
{
	evn_uploads_end(q);
	q->ring = calloc(1, sizeof *q->ring);
	if (!q->ring)
		return evn_fail_memory(err, "upload", sizeof *q->ring);
	q->ring->slot_bytes = slot_bytes;
	return evn_pinned_create(&q->ring->memory, q, EVN_UPLOAD_SLOTS * slot_bytes, "upload", err);
}

evn_status evn_upload_begin(evn_upload *u, evn_queue *q, evn_buf *to, uint64_t bytes, evn_error *err)
{
	void *host = NULL;
	*u = (evn_upload){.q = q, .to = to};
	if (evn_device_unified_memory(q->device)) {
		EVN_TRY(evn_map(q, to, bytes, EVN_MAP_OVERWRITE, true, &host, err));
		u->mapped = host;
	}
	return EVN_OK;
}

/* Sends what the current slot has. */
static evn_status send(evn_upload *u, evn_error *err)
{
	evn_upload_ring *r = u->q->ring;
	const uint64_t at = r->slot * r->slot_bytes, bytes = u->in_slot;
	if (!bytes)
		return EVN_OK;
	u->in_slot = 0;
	EVN_TRY(evn_write_later(u->q, u->to, u->at, r->memory.host + at, bytes, &r->sent[r->slot], err));
	u->at += bytes;
	r->slot = (r->slot + 1) % EVN_UPLOAD_SLOTS;
	return evn_queue_flush(u->q, err);
}

evn_status evn_upload_room(evn_upload *u, uint64_t bytes, void **host, evn_error *err)
{
	if (u->mapped) {
		*host = u->mapped + u->at;
		u->at += bytes;
		return EVN_OK;
	}
	evn_upload_ring *r = u->q->ring;
	if (r && u->in_slot + bytes > r->slot_bytes)
		EVN_TRY(send(u, err));
	if (!r || bytes > r->slot_bytes)
		EVN_TRY(make_ring(u->q, slot_bytes(u->q->device, bytes), err));
	r = u->q->ring;
	if (!u->in_slot)
		EVN_TRY(wait_slot(u->q, r->slot, err));
	*host = r->memory.host + r->slot * r->slot_bytes + u->in_slot;
	u->in_slot += bytes;
	return EVN_OK;
}

evn_status evn_upload_end(evn_upload *u, evn_status filled, evn_error *err)
{
	evn_status s = EVN_OK;
	if (u->mapped)
		s = evn_unmap(u->q, u->to, u->mapped, filled == EVN_OK ? err : NULL);
	else if (filled == EVN_OK)
		s = send(u, err);
	return filled == EVN_OK ? s : filled;
}
