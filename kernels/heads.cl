// heads.cl - heads of queries, keys and values, as the products write them: their norm, rotary embedding (Su et al.
// 2021), and the append to the KV cache.
//
// The cache is a pool of blocks of 64 positions. A block has four tiles of 16 positions for each KV head. The format
// of a tile is in kv/. A sequence has a table with the numbers of its blocks, so its blocks can be anywhere in the
// pool. Parameters: those of head_dims.cl; KV_CACHE; GROUP, the query heads of a KV head; ROPE_NEOX for pairs (i, i +
// ROPE_DIM/2) instead of (2i, 2i + 1); QK_NORM if queries and keys have their own norm; V_NORM if values have one without weights; QUERY_SCALES if a row of angles
// ends with one more factor of the query. LIMITED adds the arguments of WINDOW, with which a query sees only the newest
// keys, and of SOFT_CAP, which keeps scores between two bounds. SINKS: the softmax has one more score, without a value.
// BIASED: a score has a bias by the distance of key and query. MEMORY: queries see all keys of another sequence.
#include "common.cl"
#include "head_dims.cl"
#include KV_CACHE

#ifndef GROUP
#define GROUP 1
#endif

#if LANES == 16
// Rotates the first ROPE_DIM elements of x in place. angles: cosines, then sines.
INLINE void rotate(float *x, const global float *angles)
{
	const global float *cosines = angles, *sines = angles + ROPE_DIM / 2;
#if defined(ROPE_NEOX) && ROPE_DIM % 32 == 0
	for (uint i = 0; i < ROPE_DIM / 32; i++) {
		float16 a = vload16(i, x), b = vload16(i, x + ROPE_DIM / 2), c = vload16(i, cosines), s = vload16(i, sines);
		vstore16(a * c - b * s, i, x);
		vstore16(a * s + b * c, i, x + ROPE_DIM / 2);
	}
#elif !defined(ROPE_NEOX) && ROPE_DIM % 16 == 0
	for (uint i = 0; i < ROPE_DIM / 16; i++) {
		float16 v = vload16(i, x);
		float8 a = v.even, b = v.odd, c = vload8(i, cosines), s = vload8(i, sines);
		v.even = a * c - b * s;
		v.odd = a * s + b * c;
		vstore16(v, i, x);
	}
#else
	for (uint i = 0; i < ROPE_DIM / 2; i++) {
#ifdef ROPE_NEOX
		uint first = i, second = i + ROPE_DIM / 2;
#else
		uint first = 2 * i, second = 2 * i + 1;
#endif
		float a = x[first], b = x[second];
		x[first] = a * cosines[i] - b * sines[i];
		x[second] = a * sines[i] + b * cosines[i];
	}
#endif
}

// x[HEAD_PAD] = from[HEAD_DIM], padded with zeros.
INLINE void load_head(float *x, const global float *from)
{
	for (uint i = 0; i < HEAD_DIM / 16; i++)
		vstore16(vload16(i, from), i, x);
	for (uint i = HEAD_DIM / 16 * 16; i < HEAD_PAD; i++)
		x[i] = i < HEAD_DIM ? from[i] : 0.0f;
}

// What an RMS norm multiplies a head by, besides weights.
INLINE float head_factor(const float *x, float eps)
{
	float16 squares = 0.0f;
	for (uint i = 0; i < HEAD_VECS; i++)
		squares = fma(vload16(i, x), vload16(i, x), squares);
	return 1.0f / sqrt(sum16(squares) / (float)HEAD_DIM + eps);
}

// Loads a head, norms and rotates it. weight: of the heads' norm; read only with QK_NORM.
INLINE void load_rotated(float *x, const global float *from, const global float *angles, const global float *weight,
                         float eps)
{
	load_head(x, from);
#ifdef QK_NORM
	float scale = head_factor(x, eps);
	for (uint i = 0; i < HEAD_DIM; i++)
		x[i] *= scale * weight[i];
#endif
	rotate(x, angles);
}
#endif

// A span: a run of rows of one sequence. Rows [first_row, first_row + n_rows) have the positions from `position` on.
// blocks: the sequence's table. n_splits: the parts into which its keys are divided.
typedef struct {
	uint first_row, n_rows, position, n_splits;
	const global uint *blocks;
} row_span;

// Reads the row table. Its first word is the number of spans. Each span has EVN_SPAN_WORDS words, from word
// EVN_SPAN_WORDS on: its first row, rows, position, splits, and the word of `spans` at which its table begins. The
// tables follow. With MEMORY the table is that of the memory, and the position is the number of its keys.
INLINE uint count_spans(const global uint *spans) { return spans[0]; }
INLINE row_span load_span(const global uint *spans, uint i)
{
	const global uint *s = spans + EVN_SPAN_WORDS * (1 + i);
	row_span span = {s[0], s[1], s[2], s[3], spans + s[4]};
	return span;
}

INLINE row_span span_of_row(const global uint *spans, uint row)
{
	uint i = 0;
	row_span span = load_span(spans, 0);
	while (row - span.first_row >= span.n_rows && ++i < count_spans(spans))
		span = load_span(spans, i);
	return span;
}

// The arguments of one rank's attention. All attention kernels have them.
//   qkv (n_rows, stride)  q heads at column 0, k heads at k_offset, v heads at v_offset, HEAD_DIM apart
//   columns              stride, k_offset, v_offset, and the distance of two positions in rope (0: one row for all)
//   heads                the rank's query heads; the query heads of its first KV head that another rank computes; the
//                        KV heads that the cache has room for; the first of these that is used here
//   caches (n_blocks, KV heads, EVN_KV_BLOCK_TILES, tile)
//   rope (n_ctx, 2, ROPE_DIM / 2)  cosines and sines
//   norms (2, HEAD_PAD)  weights of the norms of queries and of keys; read only with QK_NORM. Then a sink for each
//                        query head of the cache's KV heads; read only with SINKS. Or EVN_BIASES for each of them; read
//                        only with BIASED
//   scale_eps            the factor of a query times a key; the eps of the norms
//   seen_keys            the keys that a query sees, its own included; read only with WINDOW
//   soft_cap             scores become soft_cap * tanh(score / soft_cap); read only with SOFT_CAP
#ifdef LIMITED
#define ATTENTION_LIMITS , uint seen_keys, float soft_cap
#define ATTENTION_LIMITS_INPUT , seen_keys, soft_cap
#else
#define ATTENTION_LIMITS
#define ATTENTION_LIMITS_INPUT
#endif
#define ATTENTION_PARAMETERS                                                                                             \
	global float *qkv, uint4 columns, uint4 heads, float2 scale_eps, global uchar *k_cache, global uchar *v_cache,   \
		const global float *rope, const global float *norms, const global uint *spans ATTENTION_LIMITS
#define ATTENTION_INPUT                                                                                                  \
	{qkv, rope, norms, k_cache, v_cache, columns.x, columns.y, columns.z, columns.w, heads.x, heads.y, heads.z, heads.w,     \
	 scale_eps.x, scale_eps.y ATTENTION_LIMITS_INPUT}
typedef struct {
	const global float *qkv, *rope, *norms;
	global uchar *k_cache, *v_cache;
	uint stride, k_offset, v_offset, rope_stride;
	uint n_heads, skip, n_held, first_held;
	float scale, eps;
#ifdef LIMITED
	uint seen_keys;
	float soft_cap;
#endif
} attention_input;

// The first key that a query sees which sees no key from `limit` on.
INLINE uint first_key(const attention_input *a, uint limit)
{
#ifdef WINDOW
	return limit > a->seen_keys ? limit - a->seen_keys : 0;
#else
	return 0;
#endif
}

// The factor of a query's scores; angles: of its position.
INLINE float query_scale(const attention_input *a, const global float *angles)
{
#ifdef QUERY_SCALES
	return a->scale * angles[ROPE_DIM];
#else
	return a->scale;
#endif
}

// The sink of a query head of this rank.
INLINE float sink(const attention_input *a, uint head) { return a->norms[2 * HEAD_PAD + a->first_held * GROUP + a->skip + head]; }

#ifdef BIASED
// The biases of a query head of this rank; the place among them of that of a distance, from which on those of a tile follow.
INLINE const global float *biases_of(const attention_input *a, uint head)
{
	return a->norms + 2 * HEAD_PAD + (size_t)(a->first_held * GROUP + a->skip + head) * EVN_BIASES;
}
INLINE uint bias_place(int distance)
{
	return clamp(distance, -EVN_BIAS_FARTHEST - EVN_KV_TILE, EVN_BIAS_FARTHEST) + EVN_BIAS_FARTHEST + EVN_KV_TILE;
}
#endif

// tanh(x) = 1 - 2 / (exp(2x) + 1); an exponential beyond f32 gives 1.
#ifdef SOFT_CAP
#define CAPPED(score) (a->soft_cap - 2.0f * a->soft_cap / (exp((score) * (2.0f / a->soft_cap)) + 1.0f))
#else
#define CAPPED(score) (score)
#endif

// The byte at which a tile of a KV head begins in a cache.
INLINE size_t tile_begin(const attention_input *a, const row_span *s, uint kv, uint tile)
{
	size_t block = s->blocks[tile / EVN_KV_BLOCK_TILES];
	return ((block * a->n_held + a->first_held + kv) * EVN_KV_BLOCK_TILES + tile % EVN_KV_BLOCK_TILES) * KV_TILE_BYTES;
}

// The first query head of KV head kv on this rank, and the end of its query heads.
INLINE uint own_begin(const attention_input *a, uint kv) { return max(kv * GROUP, a->skip) - a->skip; }
INLINE uint own_end(const attention_input *a, uint kv) { return min((kv + 1) * GROUP - a->skip, a->n_heads); }

#if LANES == 16
// Appends k and v of one row and KV head to the cache.
INLINE void append(const attention_input *a, const row_span *s, uint kv, uint row)
{
	float x[HEAD_PAD];
	uint position = s->position + row - s->first_row;
	const global float *from = a->qkv + (size_t)row * a->stride + kv * HEAD_DIM;
	size_t tile = tile_begin(a, s, kv, position / EVN_KV_TILE);
	load_rotated(x, from + a->k_offset, a->rope + (size_t)position * a->rope_stride, a->norms + HEAD_PAD, a->eps);
	k_store(a->k_cache + tile, position % EVN_KV_TILE, x);
	load_head(x, from + a->v_offset);
#ifdef V_NORM
	float scale = head_factor(x, a->eps);
	for (uint i = 0; i < HEAD_VECS; i++)
		vstore16(vload16(i, x) * scale, i, x);
#endif
	v_store(a->v_cache + tile, position % EVN_KV_TILE, x);
}
#endif
