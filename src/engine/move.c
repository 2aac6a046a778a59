#include "engine/move.h"

#include <stdlib.h>
#include <string.h>

/* What takes the place of a rank's present part. */
typedef struct {
	bool loads; /* the rank will hold other weights */
	evn_shard_block block;
	evn_matrix head;
	evn_range vocab;
	evn_cache_part cache;
	evn_view *view;
} successor;

typedef struct {
	evn_engine *e;
	uint32_t block; /* of the graph; NULL in `b`: the vocabulary */
	const evn_block *b;
	evn_part *now;        /* (n_ranks) in the engine's split */
	const evn_part *next; /* (n_ranks) */
	successor to[EVN_MAX_RANKS];
	evn_slot cached;     /* all cache blocks that are in use */
	uint64_t head_bytes; /* of the keys and values of a head in them */
	uint8_t *heads;      /* (n_kv, head_bytes) host copies; NULL if no head moves */
	uint32_t n_kv;
} moving;

static evn_part *parts_of(const evn_engine *e, const evn_split *split, uint32_t block)
{
	const evn_graph *g = e->prepared.graph;
	const bool head = block == g->n_blocks;
	const uint32_t k = head ? EVN_PLAN_VOCAB : g->blocks[block].cut_class;
	return split->parts[k] + (size_t)(head ? 0 : g->blocks[block].cut_index) * split->n_ranks;
}

bool evn_move_changes(const evn_engine *e, const evn_split *to, uint32_t block)
{
	const evn_part *now = parts_of(e, &e->prepared.split, block), *next = parts_of(e, to, block);
	return memcmp(now, next, e->n_ranks * sizeof *now) != 0;
}

static bool same(evn_range a, evn_range b)
{
	return (!evn_range_len(a) && !evn_range_len(b)) || (a.begin == b.begin && a.end == b.end);
}

uint64_t evn_move_bytes(const evn_engine *e, const evn_split *to)
{
	uint64_t sum = 0;
	for (uint32_t k = 0; k < to->shape.n_classes; k++) {
		const evn_plan_class *cut = &to->shape.classes[k];
		for (uint32_t i = 0; i < cut->n_blocks * to->n_ranks; i++) {
			const evn_range held = to->parts[k][i].held;
			if (!same(held, e->prepared.split.parts[k][i].held))
				sum += evn_range_len(held) * cut->unit_bytes +
					   evn_range_len(evn_plan_groups(cut, held)) * cut->group_bytes;
		}
	}
	return sum;
}

/* ---- keys and values ---------------------------------------------------------------------------------------------
 */

static bool attends(const moving *m) { return m->b && m->b->kind == EVN_BLOCK_ATTENTION; }

/* The first rank that has the keys and values of this head. */
static uint32_t owner_of(const moving *m, uint32_t kv_head)
{
	uint32_t r = 0;
	for (; r + 1 < m->e->n_ranks; r++) {
		const evn_range held = evn_groups_of(m->b, m->now[r].held);
		if (kv_head >= held.begin && kv_head < held.end)
			break;
	}
	return r;
}

static evn_status list_cached(moving *m, evn_error *err)
{
	const evn_block_pool *pool = &m->e->pool;
	m->cached.table = malloc((pool->n_blocks + 1u) * sizeof *m->cached.table);
	if (!m->cached.table)
		return evn_fail_memory(err, "cache blocks", pool->n_blocks * sizeof *m->cached.table);
	for (uint32_t i = 0; i < pool->n_blocks; i++)
		if (pool->n_users[i])
			m->cached.table[m->cached.n_blocks++] = i;
	return EVN_OK;
}

static evn_status make_room_for_heads(moving *m, evn_error *err)
{
	if (!attends(m))
		return EVN_OK;
	EVN_TRY(list_cached(m, err));
	m->n_kv = evn_groups_of(m->b, (evn_range){0, m->b->n_units}).end;
	m->head_bytes = evn_cache_head_bytes(m->e->ranks[0].cache, m->block, m->cached.n_blocks * EVN_BLOCK_POSITIONS);
	m->heads = malloc(m->n_kv * m->head_bytes + 1);
	return m->heads ? EVN_OK : evn_fail_memory(err, "keys and values that move", m->n_kv * m->head_bytes);
}

static evn_cache_head head_of(const moving *m, const evn_range *held, uint32_t kv_head, const evn_cache_part *part)
{
	return (evn_cache_head){.block = m->block,
							.kv_head = kv_head - held->begin,
							.slot = &m->cached,
							.n_positions = m->cached.n_blocks * EVN_BLOCK_POSITIONS,
							.part = part};
}

static evn_status export_heads(void *arg, uint32_t rank, evn_error *err)
{
	const moving *m = arg;
	const evn_rank *r = &m->e->ranks[rank];
	const evn_range held = evn_groups_of(m->b, m->now[rank].held);
	for (uint32_t h = held.begin; h < held.end; h++) {
		const evn_cache_head head = head_of(m, &held, h, NULL);
		if (owner_of(m, h) == rank)
			EVN_TRY(evn_cache_export(r->cache, r->queue, &head, m->heads + h * m->head_bytes, err));
	}
	return EVN_OK;
}

static evn_status import_heads(const moving *m, uint32_t rank, const evn_cache_part *part, evn_error *err)
{
	const evn_rank *r = &m->e->ranks[rank];
	const evn_range held = evn_groups_of(m->b, m->next[rank].held);
	for (uint32_t h = held.begin; h < held.end; h++) {
		const evn_cache_head head = head_of(m, &held, h, part);
		EVN_TRY(evn_cache_import(r->cache, r->queue, &head, m->heads + h * m->head_bytes, err));
	}
	return EVN_OK;
}

/* ---- weights -----------------------------------------------------------------------------------------------------
 */

static evn_status load_block(const moving *m, uint32_t rank, successor *to, evn_error *err)
{
	const evn_rank *r = &m->e->ranks[rank];
	EVN_TRY(evn_shard_load_block(&to->block, r->shard, r->queue, m->block, m->next[rank].held, err));
	EVN_TRY(evn_workspace_fit(r->workspace, m->b->kind, &to->block, NULL, err));
	if (!attends(m))
		return EVN_OK;
	EVN_TRY(evn_cache_make_part(&to->cache, r->cache, r->queue, m->block, evn_range_len(to->block.groups), err));
	return import_heads(m, rank, &to->cache, err);
}

static evn_status load_successor(void *arg, uint32_t rank, evn_error *err)
{
	moving *m = arg;
	const evn_rank *r = &m->e->ranks[rank];
	successor *to = &m->to[rank];
	if (!to->loads)
		return EVN_OK;
	if (m->b) {
		EVN_TRY(load_block(m, rank, to, err));
	} else {
		to->vocab = m->next[rank].held;
		EVN_TRY(evn_shard_load_head(&to->head, r->shard, r->queue, to->vocab, err));
		EVN_TRY(evn_workspace_fit(r->workspace, 0, NULL, &to->head, err));
	}
	evn_uploads_end(r->queue);
	return evn_queue_finish(r->queue, err);
}

/* ---- taking the place --------------------------------------------------------------------------------------------
 */

#define SWAP(type, a, b)                                                                                             \
	do {                                                                                                             \
		type swapped = (a);                                                                                          \
		(a) = (b);                                                                                                   \
		(b) = swapped;                                                                                               \
	} while (0)

/* Called twice, it changes nothing. */
static void swap_weights(moving *m)
{
	for (uint32_t i = 0; i < m->e->n_ranks; i++) {
		evn_rank *r = &m->e->ranks[i];
		successor *to = &m->to[i];
		if (!to->loads)
			continue;
		if (m->b) {
			SWAP(evn_shard_block, r->shard->blocks[m->block], to->block);
			if (attends(m))
				SWAP(evn_cache_part, r->cache->parts[m->block], to->cache);
		} else {
			SWAP(evn_matrix, r->shard->head, to->head);
			SWAP(evn_range, r->shard->vocab, to->vocab);
		}
	}
}

static evn_status make_views(moving *m, evn_error *err)
{
	for (uint32_t i = 0; i < m->e->n_ranks; i++)
		EVN_TRY(evn_view_make(&m->to[i].view, m->e->ranks[i].shard, &m->e->prepared.split, i, err));
	return EVN_OK;
}

static evn_status take_place(moving *m, evn_error *err)
{
	evn_part before[EVN_MAX_RANKS];
	const size_t bytes = m->e->n_ranks * sizeof *before;
	memcpy(before, m->now, bytes);
	memcpy(m->now, m->next, bytes);
	swap_weights(m);
	const evn_status s = make_views(m, err);
	if (s != EVN_OK) {
		swap_weights(m);
		memcpy(m->now, before, bytes);
		return s;
	}
	for (uint32_t i = 0; i < m->e->n_ranks; i++)
		SWAP(evn_view *, m->e->ranks[i].view, m->to[i].view);
	return EVN_OK;
}

static evn_status make_successors(moving *m, evn_error *err)
{
	bool any = false;
	for (uint32_t i = 0; i < m->e->n_ranks; i++)
		any |= m->to[i].loads = !same(m->now[i].held, m->next[i].held);
	if (!any)
		return take_place(m, err);
	EVN_TRY(make_room_for_heads(m, err));
	if (m->heads)
		EVN_TRY(evn_engine_run(m->e, export_heads, m, NULL, NULL, err));
	EVN_TRY(evn_engine_run(m->e, load_successor, m, NULL, NULL, err));
	return take_place(m, err);
}

static void free_moving(moving *m)
{
	for (uint32_t i = 0; i < m->e->n_ranks; i++) {
		evn_shard_block_free(&m->to[i].block);
		evn_matrix_free(&m->to[i].head);
		evn_cache_part_free(&m->to[i].cache);
		evn_view_free(m->to[i].view);
	}
	free(m->cached.table);
	free(m->heads);
	free(m);
}

evn_status evn_engine_move(evn_engine *e, const evn_split *to, uint32_t block, evn_error *err)
{
	const evn_graph *g = e->prepared.graph;
	if (!evn_move_changes(e, to, block))
		return EVN_OK;
	moving *m = calloc(1, sizeof *m);
	if (!m)
		return evn_fail_memory(err, "a move", sizeof *m);
	*m = (moving){.e = e,
				  .block = block,
				  .b = block == g->n_blocks ? NULL : &g->blocks[block],
				  .now = parts_of(e, &e->prepared.split, block),
				  .next = parts_of(e, to, block)};
	const evn_status s = make_successors(m, err);
	if (!evn_team_abandoned(e->team)) /* a device that hangs may come back to it */
		free_moving(m);
	return s;
}
