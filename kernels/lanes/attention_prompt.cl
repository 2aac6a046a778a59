// attention_prompt.cl - attention of the rows of a prompt, with scalars, by tiles of QUERIES queries of one KV head and
// TILE_KEYS keys (FlashAttention-2, Dao 2023). The items are four teams. A team has a quarter of the queries: for the scores
// an item has two keys of each tile, for the weighted values every 32nd dimension. So each key and value that is loaded
// serves all queries of a team, and loads read positions or dimensions side by side. Queries and weights are in local memory,
// the team's queries side by side.
//
// A query's bits do not depend on the others of its group, so not on how a prompt is cut into pieces: tiles of keys begin at
// multiples of their size, sums go over the positions in order, and a tile that a query does not see changes nothing.
// Parameters: those of queries.cl, STORE.
#ifndef QUERIES
#define QUERIES 32
#endif
#include "lanes/heads.cl"
#include "queries.cl"
#include STORE

#define TILE_KEYS 64
#define TEAMS 4
#define TEAM (EVN_LANE_ITEMS / TEAMS)
#define OWN (QUERIES / TEAMS)                // queries of a team
#define DIMS ((HEAD_PAD + TEAM - 1) / TEAM)  // dimensions of an item
#define PARTS (EVN_LANE_ITEMS / QUERIES)     // items that reduce a query's weights together
#define PART_KEYS (TILE_KEYS / PARTS)
#define LOWEST (-FLT_MAX) // below every score

typedef struct {
	float q[HEAD_PAD * QUERIES]; // [dimension][query], rotated and scaled; at the end the results, [query][dimension]
	float weights[TILE_KEYS * QUERIES]; // [key][query]: scores, then the exponentials
	float part[EVN_LANE_ITEMS];
	float4 stored[EVN_LANE_ITEMS / 4];
	// The state of each query's softmax with a running maximum (Milakov & Gimelshein 2018), as in softmax.cl.
	float top[QUERIES], sum[QUERIES], keep[QUERIES];
	uint row[QUERIES]; // of each query, in its span
} shared;

typedef float own_sums[OWN];

INLINE uint team(void) { return get_local_id(0) / TEAM; }
INLINE uint member(void) { return get_local_id(0) % TEAM; }

INLINE void load_queries(local shared *m, const attention_input *a, const row_span *s, const query_block *b)
{
#pragma nounroll
	for (uint r = 0; r < QUERIES; r++) {
		const uint id = query_number(b, s, r), t = id / b->n_own;
		const global float *head = a->qkv + (size_t)(s->first_row + t) * a->stride + (b->begin + id % b->n_own) * HEAD_DIM;
		const global float *angles = a->rope + (size_t)(s->position + t) * a->rope_stride;
		const float scale = head_scale(head, a->eps, m->part);
#pragma nounroll
		for (uint d = get_local_id(0); d < HEAD_PAD; d += EVN_LANE_ITEMS)
			m->q[d * QUERIES + r] = rotated(head, d, angles, a->norms, scale) * query_scale(a, angles);
	}
	if (get_local_id(0) < QUERIES) {
		const uint r = get_local_id(0);
		m->row[r] = query_number(b, s, r) / b->n_own;
		m->top[r] = LOWEST;
		m->sum[r] = 0.0f;
#ifdef SINKS
		m->top[r] = sink(a, b->begin + query_number(b, s, r) % b->n_own);
		m->sum[r] = 1.0f;
#endif
	}
	barrier(CLK_LOCAL_MEM_FENCE);
}

// The byte at which the tile of a position begins, and its place there.
typedef struct {
	const global uchar *tile;
	uint at;
} key_place;

INLINE key_place place_of(const attention_input *a, const row_span *s, uint kv, uint position)
{
	const key_place p = {a->k_cache + tile_begin(a, s, kv, position / EVN_KV_TILE), position % EVN_KV_TILE};
	return p;
}

// score[i][r] = the team's query r times the item's key i.
INLINE void multiply_keys(own_sums *score, const local shared *m, const key_place *k)
{
#pragma unroll 4
	for (uint d = 0; d < HEAD_DIM; d++) {
		const local float *q = m->q + d * QUERIES + team() * OWN;
		const float first = k_at(k[0].tile, d, k[0].at), second = k_at(k[1].tile, d, k[1].at);
#pragma unroll
		for (uint r = 0; r < OWN; r++) {
			score[0][r] = fma(q[r], first, score[0][r]);
			score[1][r] = fma(q[r], second, score[1][r]);
		}
	}
}

// A score with its bias and cap; LOWEST if the team's query r does not see the position.
INLINE float masked(float score, const local shared *m, const attention_input *a, const row_span *s, const query_block *b, uint r,
                    uint position)
{
	const uint t = m->row[team() * OWN + r], limit = KEY_LIMIT(s, t);
#ifdef BIASED
	const uint h = query_number(b, s, team() * OWN + r) - t * b->n_own;
	score += biases_of(a, b->begin + h)[bias_place((int)position - (int)(s->position + t))];
#endif
	return position < limit && position >= first_key(a, limit) ? CAPPED(score) : LOWEST;
}

// Reduces the weights of each query over the tile: first by PARTS items, whose results item r then joins for query r.
INLINE float part_of(const local shared *m, bool largest)
{
	const local float *w = m->weights + get_local_id(0) / QUERIES * PART_KEYS * QUERIES + get_local_id(0) % QUERIES;
	float v = w[0];
#pragma nounroll
	for (uint i = 1; i < PART_KEYS; i++)
		v = largest ? fmax(v, w[i * QUERIES]) : v + w[i * QUERIES];
	return v;
}

INLINE float joined(const local shared *m, uint r, bool largest)
{
	float v = m->part[r];
#pragma nounroll
	for (uint i = 1; i < PARTS; i++)
		v = largest ? fmax(v, m->part[i * QUERIES + r]) : v + m->part[i * QUERIES + r];
	return v;
}

// Computes the weights of the tile of keys from position `first` on. No query sees positions from n_keys on, so their
// keys, which may be anything, are not read.
INLINE void weigh_keys(local shared *m, const attention_input *a, const row_span *s, const query_block *b, uint first, uint n_keys)
{
	const uint item = get_local_id(0);
	own_sums score[2];
	const key_place k[2] = {place_of(a, s, b->kv, min(first + member(), n_keys - 1)),
	                        place_of(a, s, b->kv, min(first + TEAM + member(), n_keys - 1))};
#pragma unroll
	for (uint r = 0; r < OWN; r++)
		score[0][r] = score[1][r] = 0.0f;
	multiply_keys(score, m, k);
	local float *weights = m->weights + member() * QUERIES + team() * OWN;
#pragma unroll
	for (uint i = 0; i < 2; i++)
#pragma unroll
		for (uint r = 0; r < OWN; r++)
			weights[i * TEAM * QUERIES + r] = masked(score[i][r], m, a, s, b, r, first + i * TEAM + member());
	barrier(CLK_LOCAL_MEM_FENCE);
	m->part[item] = part_of(m, true);
	barrier(CLK_LOCAL_MEM_FENCE);
	if (item < QUERIES) {
		const float top = fmax(m->top[item], joined(m, item, true));
		m->keep[item] = exp(m->top[item] - top);
		m->top[item] = top;
	}
	barrier(CLK_LOCAL_MEM_FENCE);
#pragma nounroll
	for (uint i = item; i < TILE_KEYS * QUERIES; i += EVN_LANE_ITEMS)
		m->weights[i] = m->weights[i] > LOWEST ? exp(m->weights[i] - m->top[i % QUERIES]) : 0.0f;
	barrier(CLK_LOCAL_MEM_FENCE);
	m->part[item] = part_of(m, false);
	barrier(CLK_LOCAL_MEM_FENCE);
	if (item < QUERIES)
		m->sum[item] = fma(m->sum[item], m->keep[item], joined(m, item, false));
}

// Adds the weighted values of the tile from position `first` on to the sums of an item's dimensions.
INLINE void add_values(own_sums *acc, const local shared *m, const attention_input *a, const row_span *s, uint kv, uint first,
                       uint n_keys)
{
#pragma unroll
	for (uint i = 0; i < DIMS; i++)
#pragma unroll
		for (uint r = 0; r < OWN; r++)
			acc[i][r] *= m->keep[team() * OWN + r];
	const uint n = min(n_keys - first, (uint)TILE_KEYS);
#pragma nounroll
	for (uint t = 0; t < n; t += EVN_KV_TILE) {
		const global uchar *v = a->v_cache + tile_begin(a, s, kv, (first + t) / EVN_KV_TILE);
		const local float *weights = m->weights + t * QUERIES + team() * OWN;
		const uint last = min(n - t, (uint)EVN_KV_TILE) - 1; // values behind the last key may be anything, even a NaN
#pragma unroll 2
		for (uint p = 0; p < EVN_KV_TILE; p++) {
#pragma unroll
			for (uint i = 0; i < DIMS; i++) {
				const float value = v_at(v, min(p, last), min(i * TEAM + member(), (uint)HEAD_PAD - 1));
#pragma unroll
				for (uint r = 0; r < OWN; r++)
					acc[i][r] = fma(weights[p * QUERIES + r], value, acc[i][r]);
			}
		}
	}
	barrier(CLK_LOCAL_MEM_FENCE);
}

// Writes the sums of all items in the place of the queries.
INLINE void gather_results(const own_sums *acc, local shared *m)
{
#pragma unroll
	for (uint i = 0; i < DIMS; i++)
#pragma unroll
		for (uint r = 0; r < OWN; r++)
			if (i * TEAM + member() < HEAD_PAD)
				m->q[(team() * OWN + r) * HEAD_PAD + i * TEAM + member()] = acc[i][r];
	barrier(CLK_LOCAL_MEM_FENCE);
}

// Writes head h of query r, and beside the first and the last head zeros, as store_head of store_head.cl does. It calls
// store_lane once, which keeps the code small. (In `attention`, PoCL 3.1 compiles this form to wrong code.)
INLINE void store_result(global float *out, size_t row, uint2 at, uint h, uint n_heads, local shared *m, uint r)
{
	const uint of_head = at.y + h * HEAD_DIM;
	const uint begin = h == 0 ? 0 : of_head, end = h == n_heads - 1 ? at.x : of_head + HEAD_DIM;
#pragma nounroll
	for (uint first = begin; first < end; first += EVN_LANE_ITEMS) {
		const uint column = first + get_local_id(0), d = column - of_head; // d is very large before the head
		const float v = d < HEAD_DIM ? m->q[r * HEAD_PAD + d] / m->sum[r] : 0.0f;
		store_lane(out, row, at.x, column < end ? column : at.x, v, m->stored);
	}
}

// out (n_rows, stride), heads from column `offset` on = softmax(scale q K^T) V, as `attention` does with one split. at:
// stride and offset of out. Keys and values have been appended. Work-group (block of queries, KV head).
kernel __attribute__((reqd_work_group_size(EVN_LANE_ITEMS, 1, 1)))
void attention_prompt(ATTENTION_PARAMETERS, global float *out, uint2 at)
{
	local shared m;
	const attention_input a = ATTENTION_INPUT;
	row_span s;
	query_block b = {get_group_id(1), own_begin(&a, get_group_id(1)), 0, 0};
	b.n_own = own_end(&a, b.kv) - b.begin;
	if (!find_block(&s, &b, spans, get_group_id(0)))
		return;
	const uint n_keys = KEY_LIMIT(&s, query_number(&b, &s, QUERIES - 1) / b.n_own);
	own_sums acc[DIMS];
#pragma unroll
	for (uint i = 0; i < DIMS; i++)
#pragma unroll
		for (uint r = 0; r < OWN; r++)
			acc[i][r] = 0.0f;
	load_queries(&m, &a, &s, &b);
#pragma nounroll
	for (uint first = first_key(&a, s.position + b.first / b.n_own + 1) / TILE_KEYS * TILE_KEYS; first < n_keys; first += TILE_KEYS) {
		weigh_keys(&m, &a, &s, &b, first, n_keys);
		add_values(acc, &m, &a, &s, b.kv, first, n_keys);
	}
	gather_results(acc, &m);
#pragma nounroll
	for (uint r = 0; r < QUERIES && b.first + r < b.n_own * s.n_rows; r++) {
		const uint id = b.first + r;
		store_result(out, s.first_row + id / b.n_own, at, b.begin + id % b.n_own, a.n_heads, &m, r);
	}
}
