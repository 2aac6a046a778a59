#include "engine/cache_file.h"

#include <stdlib.h>
#include <string.h>

#include "evener/inspect.h"
#include "model/model.h"

#define MAGIC "evnkeys1"

/* Little-endian, as are all machines that evener runs on. */
typedef struct {
	char magic[8];
	uint64_t model; /* evn_model_identity */
	uint32_t format, n_ids;
} header;

struct evn_cache_file {
	evn_engine *e;
	evn_source *source;
	header head;
	int32_t *ids;
	uint64_t at, sum; /* bytes that were read, and the hash of them */
};

/* ---- what is in it --------------------------------------------------------------------------------------------- */

static uint32_t kv_heads(const evn_block *b)
{
	return b->kind == EVN_BLOCK_ATTENTION && !b->attention.shares
			   ? evn_range_len(evn_groups_of(b, (evn_range){0, b->n_units}))
			   : 0;
}

static const evn_graph *graph_of(const evn_engine *e) { return e->ranks[0].shard->graph; }

static uint64_t head_bytes(const evn_engine *e, const evn_block *b, uint32_t n_ids)
{
	return 2 * evn_blocks_for(n_ids) * evn_kv_block_bytes(e->ranks[0].cache->format, b->attention.head_dim);
}

static uint64_t file_bytes(const evn_engine *e, uint32_t n_ids)
{
	uint64_t bytes = sizeof(header) + (uint64_t)n_ids * sizeof(int32_t) + sizeof(uint64_t);
	for (uint32_t i = 0; i < graph_of(e)->n_blocks; i++) {
		const evn_block *b = &graph_of(e)->blocks[i];
		bytes += kv_heads(b) ? kv_heads(b) * head_bytes(e, b, n_ids) : 0;
	}
	return bytes;
}

static evn_status make_header(header *h, const evn_engine *e, uint32_t n_ids, evn_error *err)
{
	*h = (header){.format = (uint32_t)e->ranks[0].cache->format, .n_ids = n_ids};
	memcpy(h->magic, MAGIC, sizeof h->magic);
	return evn_model_identity(e->model, &h->model, err);
}

/* Calls `move` with each attention block of the graph, each of its KV heads, and room for the head. */
typedef evn_status (*move_head)(void *user, uint32_t block, uint32_t kv_head, void *host, uint64_t bytes,
								evn_error *err);

static evn_status for_heads(const evn_engine *e, uint32_t n_ids, move_head move, void *user, evn_error *err)
{
	evn_status status = EVN_OK;
	for (uint32_t i = 0; i < graph_of(e)->n_blocks && status == EVN_OK; i++) {
		const evn_block *b = &graph_of(e)->blocks[i];
		if (!kv_heads(b))
			continue;
		const uint64_t bytes = head_bytes(e, b, n_ids);
		void *host = malloc(bytes);
		status = host ? EVN_OK : evn_fail_memory(err, "keys and values", bytes);
		for (uint32_t h = 0; h < kv_heads(b) && status == EVN_OK; h++)
			status = move(user, i, h, host, bytes, err);
		free(host);
	}
	return status;
}

/* ---- writing --------------------------------------------------------------------------------------------------- */

typedef struct {
	evn_engine *e;
	evn_new_file *file;
	const evn_slot *slot;
	uint32_t n_ids;
	uint64_t sum;
} writer;

static void put(writer *w, const void *data, uint64_t bytes)
{
	w->sum = evn_hash(w->sum, data, bytes);
	evn_new_file_write(w->file, data, bytes);
}

/* A rank may hold a head that it does not compute. */
static bool computes(const evn_rank *r, uint32_t block, uint32_t kv_head, uint32_t *held)
{
	const evn_block_view *v = evn_view_block(r->view, block, EVN_DECODE);
	const uint32_t first = r->shard->blocks[block].groups.begin;
	*held = kv_head - first;
	return v->n_groups && kv_head >= first + v->first_held && kv_head < first + v->first_held + v->n_groups;
}

static evn_status write_head(void *user, uint32_t block, uint32_t kv_head, void *host, uint64_t bytes, evn_error *err)
{
	writer *w = user;
	uint32_t held = 0, i = 0;
	while (i + 1 < w->e->n_ranks && !computes(&w->e->ranks[i], block, kv_head, &held))
		i++;
	const evn_rank *r = &w->e->ranks[i];
	computes(r, block, kv_head, &held);
	const evn_cache_head head = {.block = block, .kv_head = held, .slot = w->slot, .n_positions = w->n_ids};
	EVN_TRY(evn_cache_export(r->cache, r->queue, &head, host, err));
	put(w, host, bytes);
	return EVN_OK;
}

evn_status evn_cache_file_write(evn_engine *e, const char *path, const evn_slot *slot, const int32_t *ids, uint32_t n,
								evn_error *err)
{
	header h;
	writer w = {.e = e, .slot = slot, .n_ids = n, .sum = EVN_HASH_START};
	EVN_TRY(make_header(&h, e, n, err));
	EVN_TRY(evn_new_file_open(&w.file, path, err));
	put(&w, &h, sizeof h);
	put(&w, ids, (uint64_t)n * sizeof *ids);
	evn_status status = for_heads(e, n, write_head, &w, err);
	evn_new_file_write(w.file, &w.sum, sizeof w.sum);
	const evn_status closed = evn_new_file_close(w.file, status == EVN_OK, status == EVN_OK ? err : NULL);
	return status == EVN_OK ? closed : status;
}

/* ---- reading --------------------------------------------------------------------------------------------------- */

static evn_status take(evn_cache_file *f, void *to, uint64_t bytes, evn_error *err)
{
	EVN_TRY(evn_source_read(f->source, f->at, to, bytes, err));
	f->sum = evn_hash(f->sum, to, bytes);
	f->at += bytes;
	return EVN_OK;
}

static evn_status check_header(const evn_cache_file *f, const char *path, evn_error *err)
{
	header own;
	EVN_TRY(make_header(&own, f->e, f->head.n_ids, err));
	if (memcmp(f->head.magic, MAGIC, sizeof own.magic) != 0)
		return evn_fail(err, EVN_ERR_FORMAT, "%s: no keys and values of evener: expected it to begin with %s", path,
						MAGIC);
	if (f->head.model != own.model)
		return evn_fail(err, EVN_ERR_UNSUPPORTED, "%s: the keys and values are of another model", path);
	if (f->head.format != own.format)
		return evn_fail(err, EVN_ERR_UNSUPPORTED, "%s: the keys and values have another format than the cache", path);
	const uint64_t bytes = evn_source_size(f->source), expected = file_bytes(f->e, f->head.n_ids);
	if (bytes != expected)
		return evn_fail(err, EVN_ERR_FORMAT, "%s: %llu bytes, expected %llu for %u ids", path,
						(unsigned long long)bytes, (unsigned long long)expected, f->head.n_ids);
	return EVN_OK;
}

static evn_status read_ids(evn_cache_file *f, const char *path, evn_error *err)
{
	const uint64_t bytes = (uint64_t)f->head.n_ids * sizeof *f->ids;
	const uint32_t vocab = evn_model_hparams(f->e->model)->vocab;
	f->ids = malloc(bytes + 1);
	if (!f->ids)
		return evn_fail_memory(err, path, bytes);
	EVN_TRY(take(f, f->ids, bytes, err));
	for (uint32_t i = 0; i < f->head.n_ids; i++)
		if (f->ids[i] < 0 || (uint32_t)f->ids[i] >= vocab)
			return evn_fail(err, EVN_ERR_FORMAT, "%s: id %d: the vocabulary has 0 to %u", path, f->ids[i], vocab - 1);
	return EVN_OK;
}

evn_status evn_cache_file_open(evn_cache_file **out, evn_engine *e, const char *path, evn_error *err)
{
	evn_cache_file *f = *out = calloc(1, sizeof *f);
	if (!f)
		return evn_fail_memory(err, path, sizeof *f);
	*f = (evn_cache_file){.e = e, .sum = EVN_HASH_START};
	evn_status status = evn_source_open(&f->source, path, err);
	if (status == EVN_OK && evn_source_size(f->source) < sizeof f->head)
		status = evn_fail(err, EVN_ERR_FORMAT, "%s: no keys and values of evener: it has %llu bytes", path,
						  (unsigned long long)evn_source_size(f->source));
	if (status == EVN_OK)
		status = take(f, &f->head, sizeof f->head, err);
	if (status == EVN_OK)
		status = check_header(f, path, err);
	if (status == EVN_OK)
		status = read_ids(f, path, err);
	if (status != EVN_OK) {
		evn_cache_file_close(f);
		*out = NULL;
	}
	return status;
}

void evn_cache_file_close(evn_cache_file *f)
{
	evn_source_close(f->source);
	free(f->ids);
	free(f);
}

const int32_t *evn_cache_file_ids(const evn_cache_file *f, uint32_t *n)
{
	*n = f->head.n_ids;
	return f->ids;
}

typedef struct {
	evn_cache_file *file;
	const evn_slot *slot;
} reader;

static evn_status read_head(void *user, uint32_t block, uint32_t kv_head, void *host, uint64_t bytes, evn_error *err)
{
	const reader *r = user;
	evn_engine *e = r->file->e;
	EVN_TRY(take(r->file, host, bytes, err));
	for (uint32_t i = 0; i < e->n_ranks; i++) {
		const evn_range held = e->ranks[i].shard->blocks[block].groups;
		const evn_cache_head head = {
			.block = block, .kv_head = kv_head - held.begin, .slot = r->slot, .n_positions = r->file->head.n_ids};
		if (kv_head >= held.begin && kv_head < held.end)
			EVN_TRY(evn_cache_import(e->ranks[i].cache, e->ranks[i].queue, &head, host, err));
	}
	return EVN_OK;
}

evn_status evn_cache_file_read(evn_cache_file *f, const evn_slot *slot, evn_error *err)
{
	uint64_t expected;
	reader r = {f, slot};
	EVN_TRY(for_heads(f->e, f->head.n_ids, read_head, &r, err));
	const uint64_t sum = f->sum;
	EVN_TRY(take(f, &expected, sizeof expected, err));
	if (sum != expected)
		return evn_fail(err, EVN_ERR_FORMAT,
						"keys and values: the file was changed or is damaged: its checksum is "
						"%016llx, expected %016llx",
						(unsigned long long)expected, (unsigned long long)sum);
	return EVN_OK;
}
