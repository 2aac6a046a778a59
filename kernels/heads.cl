// heads.cl - heads of queries, keys and values as the products leave them: norm, rotary embedding (Su et al. 2021), and
// the append to the KV cache, whose tiles of 16 positions have a format of kv/.
// Defines from the host: HEAD_DIM; HEAD_VECS, vectors of 16 to a head; ROPE_DIM (even, <= HEAD_DIM); ROPE_NEOX for
// pairs (i, i + ROPE_DIM/2) instead of (2i, 2i + 1); QK_NORM where queries and keys have a norm of their own.
#define TILE 16

// The first ROPE_DIM elements of x in place. angles: cosines, then sines.
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

// k and v of one token and KV head, from row of qkv, to the cache.
INLINE void append(global uchar *keys, global uchar *values, uint position, const global float *k, const global float *v,
                   const global float *rope, const global float *k_weight, float eps)
{
	float x[HEAD_PAD];
	size_t tile = (size_t)(position / TILE) * KV_TILE_BYTES;
	load_rotated(x, k, rope + (size_t)position * ROPE_DIM, k_weight, eps);
	k_store(keys + tile, position % TILE, x);
	load_head(x, v);
	v_store(values + tile, position % TILE, x);
}

// qkv (n_tok, stride) holds q heads at column 0, k heads at k_offset, v heads at v_offset, HEAD_DIM apart; rope
// (n_ctx, 2, ROPE_DIM / 2) cosines and sines; caches (n_kv, n_tiles, tile). Work-item (KV head, token).
kernel IN_VECTORS void attention_append(global uchar *k_cache, global uchar *v_cache, uint n_tiles, uint position,
                                        const global float *qkv, uint stride, uint k_offset, uint v_offset,
                                        const global float *rope, const global float *k_weight, float eps)
{
	uint kv = get_global_id(0), t = get_global_id(1);
	size_t head = (size_t)kv * n_tiles * KV_TILE_BYTES;
	const global float *row = qkv + (size_t)t * stride + kv * HEAD_DIM;
	append(k_cache + head, v_cache + head, position + t, row + k_offset, row + v_offset, rope, k_weight, eps);
}
