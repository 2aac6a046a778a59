// heads.cl - heads of queries, keys and values as the products leave them: norm, rotary embedding (Su et al. 2021), and
// the append to the KV cache, whose tiles of 16 positions have a format of kv/. Sixteen tiles are a block, and the
// blocks of the KV heads lie side by side: a cache that fills slowly touches its memory in order, whatever its heads.
// Parameters: those of head_dims.cl; KV_CACHE; GROUP, query heads to a KV head; ROPE_NEOX for pairs (i, i + ROPE_DIM/2)
// instead of (2i, 2i + 1); QK_NORM where queries and keys have a norm of their own.
// The first ROPE_DIM elements of x in place. angles: cosines, then sines.
#include "common.cl"
#include "head_dims.cl"
#include KV_CACHE

#ifndef GROUP
#define GROUP 1
#endif

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

// x[HEAD_PAD] = from[HEAD_DIM] and zeros.
INLINE void load_head(float *x, const global float *from)
{
	for (uint i = 0; i < HEAD_DIM / 16; i++)
		vstore16(vload16(i, from), i, x);
	for (uint i = HEAD_DIM / 16 * 16; i < HEAD_PAD; i++)
		x[i] = i < HEAD_DIM ? from[i] : 0.0f;
}

INLINE void load_rotated(float *x, const global float *from, const global float *angles, const global float *weight,
                         float eps)
{
	load_head(x, from);
#ifdef QK_NORM
	float16 squares = 0.0f;
	for (uint i = 0; i < HEAD_VECS; i++)
		squares = fma(vload16(i, x), vload16(i, x), squares);
	float scale = 1.0f / sqrt(sum16(squares) / (float)HEAD_DIM + eps);
	for (uint i = 0; i < HEAD_DIM; i++)
		x[i] *= scale * weight[i];
#endif
	rotate(x, angles);
}

// What one rank's attention works on, as every kernel is told it.
//   qkv (n_tok, stride)  q heads at column 0, k heads at k_offset, v heads at v_offset, HEAD_DIM apart
//   caches (n_blocks, n_kv, EVN_KV_BLOCK_TILES, tile); rope (n_ctx, 2, ROPE_DIM / 2): cosines and sines
//   position             of the first of n_tok tokens
//   q_weight, k_weight   of the heads' norms; read with QK_NORM only
// Head h uses KV head (first_head + h) / GROUP - first_kv.
#define ATTENTION_PARAMETERS                                                                                             \
	global float *qkv, uint stride, uint k_offset, uint v_offset, global uchar *k_cache, global uchar *v_cache, uint n_kv, \
		uint position, uint n_tok, const global float *rope, const global float *q_weight, const global float *k_weight,      \
		float eps, uint n_heads, uint first_head, uint first_kv
#define ATTENTION_INPUT                                                                                                  \
	{qkv, stride, k_offset, v_offset, k_cache, v_cache, n_kv, position, n_tok, rope, q_weight, k_weight, eps, n_heads, first_head, first_kv}
typedef struct {
	const global float *qkv;
	uint stride, k_offset, v_offset;
	global uchar *k_cache, *v_cache;
	uint n_kv, position, n_tok;
	const global float *rope, *q_weight, *k_weight;
	float eps;
	uint n_heads, first_head, first_kv;
} attention_input;

// Where a tile of a KV head begins in a cache.
INLINE size_t tile_begin(const attention_input *a, uint kv, uint tile)
{
	return ((size_t)(tile / EVN_KV_BLOCK_TILES * a->n_kv + kv) * EVN_KV_BLOCK_TILES + tile % EVN_KV_BLOCK_TILES) * KV_TILE_BYTES;
}

// k and v of one token and KV head to the cache.
INLINE void append(const attention_input *a, uint kv, uint t)
{
	float x[HEAD_PAD];
	uint position = a->position + t;
	const global float *row = a->qkv + (size_t)t * a->stride + kv * HEAD_DIM;
	size_t tile = tile_begin(a, kv, position / EVN_KV_TILE);
	load_rotated(x, row + a->k_offset, a->rope + (size_t)position * ROPE_DIM, a->k_weight, a->eps);
	k_store(a->k_cache + tile, position % EVN_KV_TILE, x);
	load_head(x, row + a->v_offset);
	v_store(a->v_cache + tile, position % EVN_KV_TILE, x);
}
