// attention.cl - causal attention of QUERIES queries of one KV head over the KV cache, with scalars (flash-decoding, Dao et
// al. 2023). A work-group takes EVN_LANE_ITEMS keys at a time. For the scores an item has a position: a key tile has the
// same dimension of 16 positions side by side. For the weighted values an item has a dimension: a value tile has the
// dimensions of a position side by side. Both read whole cache lines, and each key and value once for all queries.
// Parameters: those of queries.cl, STORE.
#include "lanes/softmax.cl"
#include "lanes/store_head.cl"

#define DIMS ((HEAD_PAD + KEYS - 1) / KEYS) // dimensions of an item
// The items that share a dimension: each takes a part of the tiles.
#define DIM_PARTS (HEAD_PAD < KEYS ? KEYS / HEAD_PAD : 1)

// Loads the queries, and begins their softmax for one part of the keys.
INLINE void load_queries(local shared *m, const attention_input *a, const row_span *s, const query_block *b, uint split)
{
	for (uint r = 0; r < QUERIES; r++) {
		const uint id = query_number(b, s, r), t = id / b->n_own;
		const global float *head = a->qkv + (size_t)(s->first_row + t) * a->stride + (b->begin + id % b->n_own) * HEAD_DIM;
		const global float *angles = a->rope + (size_t)(s->position + t) * a->rope_stride;
		const float scale = head_scale(head, a->eps, (local float *)m->part);
		for (uint d = get_local_id(0); d < HEAD_PAD; d += KEYS)
			((local float *)m->q[r])[d] = rotated(head, d, angles, a->norms, scale) * query_scale(a, angles);
	}
	if (get_local_id(0) < QUERIES) {
		m->top[get_local_id(0)] = LOWEST;
		m->sum[get_local_id(0)] = 0.0f;
#ifdef SINKS
		if (split == 0) {
			m->top[get_local_id(0)] = sink(a, b->begin + query_number(b, s, get_local_id(0)) % b->n_own);
			m->sum[get_local_id(0)] = 1.0f;
		}
#endif
	}
	barrier(CLK_LOCAL_MEM_FENCE);
}

// score[r] = query r times the item's key, position `at` of the tile at k.
INLINE void multiply_key(float *score, const local shared *m, const global uchar *k, uint at)
{
#pragma unroll 2
	for (uint d = 0; d < HEAD_DIM / 4 * 4; d += 4) {
		const float4 key = (float4)(k_at(k, d, at), k_at(k, d + 1, at), k_at(k, d + 2, at), k_at(k, d + 3, at));
#pragma unroll
		for (uint r = 0; r < QUERIES; r++) {
			const float4 q = m->q[r][d / 4];
			score[r] = fma(q.x, key.x, fma(q.y, key.y, fma(q.z, key.z, fma(q.w, key.w, score[r]))));
		}
	}
#if HEAD_DIM % 4
	for (uint d = HEAD_DIM / 4 * 4; d < HEAD_DIM; d++) {
		const float key = k_at(k, d, at);
#pragma unroll
		for (uint r = 0; r < QUERIES; r++)
			score[r] = fma(((const local float *)m->q[r])[d], key, score[r]);
	}
#endif
}

// Adds n positions of the value tile at v, which is tile number t of the present keys. acc: of an item's dimension.
INLINE void add_values(float *acc, const local shared *m, const global uchar *v, uint t, uint n, uint dim)
{
	if (n == EVN_KV_TILE) {
#pragma unroll 2
		for (uint p = 0; p < EVN_KV_TILE; p += 4) {
			const float4 value = (float4)(v_at(v, p, dim), v_at(v, p + 1, dim), v_at(v, p + 2, dim), v_at(v, p + 3, dim));
#pragma unroll
			for (uint r = 0; r < QUERIES; r++) {
				const float4 w = m->weights[r][t * 4 + p / 4];
				acc[r] = fma(w.w, value.w, fma(w.z, value.z, fma(w.y, value.y, fma(w.x, value.x, acc[r]))));
			}
		}
		return;
	}
	for (uint p = 0; p < n; p++) { // what lies behind the last key may be anything, even a NaN
		const float value = v_at(v, p, dim);
#pragma unroll
		for (uint r = 0; r < QUERIES; r++)
			acc[r] = fma(((const local float *)m->weights[r])[t * EVN_KV_TILE + p], value, acc[r]);
	}
}

// Computes the weights of `n_tiles` tiles from tile `first` on, at most KEYS positions. No query attends to positions
// from n_keys on.
INLINE void weigh_keys(local shared *m, const attention_input *a, const row_span *s, const query_block *b, uint first, uint n_tiles,
                       uint n_keys)
{
	const uint item = get_local_id(0), position = first * EVN_KV_TILE + item;
	const bool has_key = item < n_tiles * EVN_KV_TILE && position < n_keys;
	float score[QUERIES];
#pragma unroll
	for (uint r = 0; r < QUERIES; r++)
		score[r] = 0.0f;
	if (has_key)
		multiply_key(score, m, a->k_cache + tile_begin(a, s, b->kv, position / EVN_KV_TILE), position % EVN_KV_TILE);
#pragma unroll
	for (uint r = 0; r < QUERIES; r++) {
		const uint id = query_number(b, s, r), limit = KEY_LIMIT(s, id / b->n_own);
#ifdef BIASED
		score[r] += biases_of(a, b->begin + id % b->n_own)[bias_place((int)position - (int)(s->position + id / b->n_own))];
#endif
		const bool sees = has_key && position < limit && position >= first_key(a, limit);
		((local float *)m->weights[r])[item] = sees ? CAPPED(score[r]) : LOWEST;
	}
	reduce_chunks(m, true);
	if (item < QUERIES)
		raise_top(m, item);
	barrier(CLK_LOCAL_MEM_FENCE);
	for (uint r = 0; r < QUERIES; r++) {
		local float *weight = (local float *)m->weights[r] + item;
		*weight = *weight > LOWEST ? exp(*weight - m->top[r]) : 0.0f;
	}
	reduce_chunks(m, false);
	if (item < QUERIES)
		raise_sum(m, item);
	barrier(CLK_LOCAL_MEM_FENCE); // not needed, but PoCL 3.1 loses the sum of heads above 64 where a loop without barriers follows
}

// The weighted sums of values of an item's dimensions, over its part of the tiles.
typedef float weighted[DIMS][QUERIES];

INLINE void add_keys(weighted acc, local shared *m, const attention_input *a, const row_span *s, const query_block *b, uint first,
                     uint n_tiles, uint n_keys)
{
	const uint item = get_local_id(0);
	weigh_keys(m, a, s, b, first, n_tiles, n_keys);
#pragma unroll
	for (uint i = 0; i < DIMS; i++) {
#if DIMS > 1
		const uint dim = i * KEYS + item, part = dim < HEAD_PAD ? 0 : DIM_PARTS;
#else
		const uint dim = item % HEAD_PAD, part = item / HEAD_PAD;
#endif
#pragma unroll
		for (uint r = 0; r < QUERIES; r++)
			acc[i][r] *= m->keep[r];
		for (uint t = part; part < DIM_PARTS && t < n_tiles; t += DIM_PARTS)
			add_values(acc[i], m, a->v_cache + tile_begin(a, s, b->kv, first + t), t,
			           min(n_keys - (first + t) * EVN_KV_TILE, (uint)EVN_KV_TILE), dim);
	}
	barrier(CLK_LOCAL_MEM_FENCE);
}

// Writes the sums of all items in the place of the queries.
INLINE void join_items(const weighted acc, local shared *m)
{
	const uint item = get_local_id(0);
#if HEAD_VECS * 32 <= EVN_LANE_ITEMS // several parts
#pragma unroll
	for (uint r = 0; r < QUERIES; r++)
		((local float *)m->weights[r])[item] = acc[0][r];
	barrier(CLK_LOCAL_MEM_FENCE);
	for (uint r = 0; r < QUERIES && item < HEAD_PAD; r++) {
		float sum = 0.0f;
		for (uint part = 0; part < DIM_PARTS; part++)
			sum += ((const local float *)m->weights[r])[part * HEAD_PAD + item];
		((local float *)m->q[r])[item] = sum;
	}
#else
#pragma unroll
	for (uint i = 0; i < DIMS; i++)
#pragma unroll
		for (uint r = 0; r < QUERIES; r++)
			if (i * KEYS + item < HEAD_PAD)
				((local float *)m->q[r])[i * KEYS + item] = acc[i][r];
#endif
	barrier(CLK_LOCAL_MEM_FENCE);
}

// Writes query r's part of the keys, as attention_merge reads it.
INLINE void store_partial(const local shared *m, uint r, global float *p)
{
	for (uint d = get_local_id(0); d < HEAD_PAD; d += KEYS)
		p[d] = ((const local float *)m->q[r])[d];
	if (get_local_id(0) == 0) {
		p[HEAD_PAD] = m->top[r];
		p[HEAD_PAD + 1] = m->sum[r];
	}
}

// out (n_rows, stride), heads from column `offset` on = softmax(scale q K^T) V over the keys of each row's sequence,
// up to its own position. at: stride and offset of out. If there are several splits, the results go to `partial`
// (n_rows, n_heads, splits, EVN_PARTIAL_ROW(HEAD_PAD)) instead, and attention_merge joins them. appends: the newest k and
// v, of the one row of each span, are appended first; one block must have all queries of a KV head. Work-group (block of
// queries, KV head, split).
kernel __attribute__((reqd_work_group_size(EVN_LANE_ITEMS, 1, 1)))
void attention(ATTENTION_PARAMETERS, global float *out, uint2 at, global float *partial, uint appends)
{
	local shared m;
	local float newest[2 * HEAD_PAD]; // the newest key and value
	const attention_input a = ATTENTION_INPUT;
	const uint split = get_group_id(2);
	row_span s;
	query_block b = {get_group_id(1), own_begin(&a, get_group_id(1)), 0, 0};
	b.n_own = own_end(&a, b.kv) - b.begin;
	if (!find_block(&s, &b, spans, get_group_id(0)) || split >= s.n_splits)
		return;
	const uint n_keys = KEY_LIMIT(&s, query_number(&b, &s, QUERIES - 1) / b.n_own);
	const uint used = (n_keys + EVN_KV_TILE - 1) / EVN_KV_TILE;
	// Chunks begin at multiples of their size, so that a row's bits do not depend on the rows beside it.
	const uint begin = first_key(&a, s.position + b.first / b.n_own + 1) / (CHUNKS * EVN_KV_TILE) * CHUNKS;
	const uint from = begin + (used - begin) * split / s.n_splits, to = begin + (used - begin) * (split + 1) / s.n_splits;
	if (appends && split == s.n_splits - 1)
		append(&a, &s, b.kv, s.first_row, newest, (local float *)m.part);
	load_queries(&m, &a, &s, &b, split);
	weighted acc;
#pragma unroll
	for (uint i = 0; i < DIMS; i++)
#pragma unroll
		for (uint r = 0; r < QUERIES; r++)
			acc[i][r] = 0.0f;
	for (uint first = from; first < to; first += CHUNKS)
		add_keys(acc, &m, &a, &s, &b, first, min(to - first, (uint)CHUNKS), n_keys);
	join_items(acc, &m);
	for (uint r = 0; r < QUERIES && b.first + r < b.n_own * s.n_rows; r++) {
		const uint id = b.first + r, h = b.begin + id % b.n_own;
		const size_t row = s.first_row + id / b.n_own;
		if (get_num_groups(2) == 1)
			store_head(out, row, at, h, a.n_heads, (const local float *)m.q[r], m.sum[r], m.part);
		else
			store_partial(&m, r, partial + ((row * a.n_heads + h) * get_num_groups(2) + split) * EVN_PARTIAL_ROW(HEAD_PAD));
	}
}
