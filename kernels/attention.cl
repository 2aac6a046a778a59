// attention.cl - rotary embedding with the append to the KV cache, and causal attention over the cache.
// Defines from the host: HEAD_DIM; ROPE_DIM (even, <= HEAD_DIM); ROPE_NEOX for pairs (i, i + ROPE_DIM/2) instead of
// (2i, 2i + 1); QK_NORM where queries and keys have a norm of their own.
#ifndef ATTENTION_ITEMS
#define ATTENTION_ITEMS 1 // work-items that share a head's keys; a power of two
#endif
#define CHUNK 16 // keys scored before the running maximum moves: one vector of exponentials

#define HEAD_VECS ((HEAD_DIM + 15) / 16)
#define HEAD_PAD (HEAD_VECS * 16) // heads lie this far apart in q and the cache; the columns between are zeros

// One head: to[HEAD_PAD] = rotate(from[HEAD_DIM] * scale * weight).
inline void rotate(global float *to, const global float *from, const global float2 *cos_sin, float scale, const global float *weight)
{
	for (uint i = 0; i < ROPE_DIM / 2; i++) {
#ifdef ROPE_NEOX
		uint a = i, b = i + ROPE_DIM / 2;
#else
		uint a = 2 * i, b = 2 * i + 1;
#endif
		float2 r = cos_sin[i];
#ifdef QK_NORM
		float xa = from[a] * scale * weight[a], xb = from[b] * scale * weight[b];
#else
		float xa = from[a], xb = from[b];
#endif
		to[a] = xa * r.x - xb * r.y;
		to[b] = xa * r.y + xb * r.x;
	}
	for (uint i = ROPE_DIM; i < HEAD_DIM; i++) {
#ifdef QK_NORM
		to[i] = from[i] * scale * weight[i];
#else
		to[i] = from[i];
#endif
	}
	for (uint i = HEAD_DIM; i < HEAD_PAD; i++)
		to[i] = 0.0f;
}

inline float head_scale(const global float *x, float eps)
{
	float squares = 0.0f;
	for (uint i = 0; i < HEAD_DIM; i++)
		squares = fma(x[i], x[i], squares);
	return 1.0f / sqrt(squares / (float)HEAD_DIM + eps);
}

// qkv (n_tok, stride) holds q heads at column 0, k heads at k_offset, v heads at v_offset, HEAD_DIM apart.
// q_out (n_tok, n_heads, HEAD_PAD) = rotated q; caches (n_kv, n_ctx, HEAD_PAD) get k, v at position + token.
// rope (n_ctx, ROPE_DIM / 2) of (cos, sin). Work-item (n_heads + 2 n_kv heads, token).
kernel void rope_append(global float *q_out, global float *k_cache, global float *v_cache, const global float *qkv,
                        uint stride, uint k_offset, uint v_offset, uint n_heads, uint n_kv, uint n_ctx, uint position,
                        const global float2 *rope, const global float *q_weight, const global float *k_weight, float eps)
{
	uint h = get_global_id(0), t = get_global_id(1);
	const global float *row = qkv + (size_t)t * stride;
	const global float2 *cos_sin = rope + (size_t)(position + t) * (ROPE_DIM / 2);
	if (h < n_heads) {
		const global float *q = row + h * HEAD_DIM;
#ifdef QK_NORM
		float scale = head_scale(q, eps);
#else
		float scale = 1.0f;
#endif
		rotate(q_out + ((size_t)t * n_heads + h) * HEAD_PAD, q, cos_sin, scale, q_weight);
		return;
	}
	h -= n_heads;
	uint kv = h < n_kv ? h : h - n_kv;
	size_t at = ((size_t)kv * n_ctx + position + t) * HEAD_PAD;
	if (h < n_kv) {
		const global float *k = row + k_offset + kv * HEAD_DIM;
#ifdef QK_NORM
		float scale = head_scale(k, eps);
#else
		float scale = 1.0f;
#endif
		rotate(k_cache + at, k, cos_sin, scale, k_weight);
	} else {
		const global float *v = row + v_offset + kv * HEAD_DIM;
		for (uint i = 0; i < HEAD_PAD; i++)
			v_cache[at + i] = i < HEAD_DIM ? v[i] : 0.0f;
	}
}

// Softmax(q K^T * scale) V over the keys 0 .. position + token, with a running maximum (Milakov & Gimelshein 2018):
// no buffer of scores. Head h uses KV head (first_head + h) / group - first_kv.
// out (n_tok, out_stride), heads HEAD_DIM apart from column out_offset, zeros elsewhere. Work-group (head, token).
kernel IN_VECTORS __attribute__((reqd_work_group_size(ATTENTION_ITEMS, 1, 1)))
void attention(global float *out, uint out_stride, uint out_offset, const global float *q, const global float *k_cache,
               const global float *v_cache, uint n_heads, uint n_ctx, uint position, uint first_head, uint first_kv, uint group,
               float scale)
{
	uint h = get_group_id(0), t = get_group_id(1), item = get_local_id(0);
	uint n_keys = position + t + 1;
	size_t kv = (size_t)((first_head + h) / group - first_kv) * n_ctx * HEAD_PAD;
	const global float *keys = k_cache + kv, *values = v_cache + kv;
	float16 qv[HEAD_VECS], acc[HEAD_VECS];
	for (uint i = 0; i < HEAD_VECS; i++) {
		qv[i] = vload16(i, q + ((size_t)t * n_heads + h) * HEAD_PAD) * scale;
		acc[i] = 0.0f;
	}
	float top = -INFINITY, sum = 0.0f;
	for (uint base = item * CHUNK; base < n_keys; base += ATTENTION_ITEMS * CHUNK) {
		uint n = min((uint)CHUNK, n_keys - base);
		float scores[CHUNK];
		float chunk_top = top;
		for (uint j = 0; j < n; j++) {
			float16 dot16 = 0.0f;
			for (uint i = 0; i < HEAD_VECS; i++)
				dot16 = fma(qv[i], vload16(i, keys + (size_t)(base + j) * HEAD_PAD), dot16);
			scores[j] = sum16(dot16);
			chunk_top = fmax(chunk_top, scores[j]);
		}
		for (uint j = n; j < CHUNK; j++)
			scores[j] = -INFINITY;
		float16 weights = exp(vload16(0, scores) - chunk_top);
		float keep = exp(top - chunk_top);
		vstore16(weights, 0, scores);
		sum = fma(sum, keep, sum16(weights));
		top = chunk_top;
		for (uint i = 0; i < HEAD_VECS; i++)
			acc[i] *= keep;
		for (uint j = 0; j < n; j++)
			for (uint i = 0; i < HEAD_VECS; i++)
				acc[i] = fma((float16)scores[j], vload16(i, values + (size_t)(base + j) * HEAD_PAD), acc[i]);
	}
#if ATTENTION_ITEMS > 1
	local float tops[ATTENTION_ITEMS], sums[ATTENTION_ITEMS];
	local float16 accs[ATTENTION_ITEMS][HEAD_VECS];
	tops[item] = top;
	sums[item] = sum;
	for (uint i = 0; i < HEAD_VECS; i++)
		accs[item][i] = acc[i];
	barrier(CLK_LOCAL_MEM_FENCE);
	if (item)
		return;
	// Item 0 always saw a key, so its maximum is finite; an item that saw none weighs exp(-inf) = 0.
	for (uint o = 1; o < ATTENTION_ITEMS; o++) {
		float both = fmax(top, tops[o]);
		float mine = exp(top - both), other = exp(tops[o] - both);
		sum = fma(sum, mine, sums[o] * other);
		top = both;
		for (uint i = 0; i < HEAD_VECS; i++)
			acc[i] = fma(acc[i], (float16)mine, accs[o][i] * other);
	}
#endif
	global float *row = out + (size_t)t * out_stride, *o = row + out_offset + h * HEAD_DIM;
	if (h == 0)
		for (uint i = 0; i < out_offset; i++)
			row[i] = 0.0f;
	if (h == n_heads - 1)
		for (uint i = out_offset + n_heads * HEAD_DIM; i < out_stride; i++)
			row[i] = 0.0f;
	for (uint i = 0; i < HEAD_VECS; i++) {
		float lanes[16];
		vstore16(acc[i] / sum, 0, lanes);
		for (uint j = 0; j < 16; j++)
			if (i * 16 + j < HEAD_DIM)
				o[i * 16 + j] = lanes[j];
	}
}
