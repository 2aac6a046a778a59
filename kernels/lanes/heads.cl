// heads.cl - heads of queries, keys and values with scalars: the items of a work-group have the dimensions of a head.
// Parameters: those of heads.cl.
#include "lanes/width.cl"
#include "heads.cl"
#include "lanes/sum_items.cl"

// What an RMS norm multiplies a head by, besides weights. All items of the group call it.
INLINE float head_factor(const global float *head, float eps, local float *part)
{
	float squares = 0.0f;
	for (uint d = get_local_id(0); d < HEAD_DIM; d += EVN_LANE_ITEMS)
		squares = fma(head[d], head[d], squares);
	return 1.0f / sqrt(sum_items(squares, EVN_LANE_ITEMS, part) / (float)HEAD_DIM + eps);
}

// The same for a query or a key, which may have no norm.
INLINE float head_scale(const global float *head, float eps, local float *part)
{
#ifdef QK_NORM
	return head_factor(head, eps, part);
#else
	return 1.0f;
#endif
}

INLINE float normed(const global float *head, uint d, const global float *weight, float scale)
{
#ifdef QK_NORM
	return head[d] * (scale * weight[d]);
#else
	return head[d];
#endif
}

// Element d of a head after its norm and rotation; zeros pad it. angles: cosines, then sines. weight: of the heads' norm.
INLINE float rotated(const global float *head, uint d, const global float *angles, const global float *weight, float scale)
{
#if ROPE_DIM > 0
#ifdef ROPE_NEOX
	const uint i = d % (ROPE_DIM / 2), first = i, second = i + ROPE_DIM / 2;
#else
	const uint i = d / 2, first = 2 * i, second = 2 * i + 1;
#endif
	if (d < ROPE_DIM) {
		const float a = normed(head, first, weight, scale), b = normed(head, second, weight, scale);
		const float cosine = angles[i], sine = angles[ROPE_DIM / 2 + i];
		return d == first ? a * cosine - b * sine : a * sine + b * cosine;
	}
#endif
	return d < HEAD_DIM ? normed(head, d, weight, scale) : 0.0f;
}

// Appends k and v of one row and KV head to the cache. All items of the group call it. x: 2 HEAD_PAD floats.
INLINE void append(const attention_input *a, const row_span *s, uint kv, uint row, local float *x, local float *part)
{
	const uint position = s->position + row - s->first_row, at = position % EVN_KV_TILE;
	const global float *k = a->qkv + (size_t)row * a->stride + kv * HEAD_DIM + a->k_offset, *v = k + a->v_offset - a->k_offset;
	const global float *angles = a->rope + (size_t)position * a->rope_stride;
	const size_t tile = tile_begin(a, s, kv, position / EVN_KV_TILE);
	const float scale = head_scale(k, a->eps, part);
#ifdef V_NORM
	const float v_scale = head_factor(v, a->eps, part);
#else
	const float v_scale = 1.0f;
#endif
	for (uint d = get_local_id(0); d < HEAD_PAD; d += EVN_LANE_ITEMS) {
		x[d] = rotated(k, d, angles, a->norms + HEAD_PAD, scale);
		x[HEAD_PAD + d] = d < HEAD_DIM ? v[d] * v_scale : 0.0f;
	}
	barrier(CLK_LOCAL_MEM_FENCE);
	for (uint d = get_local_id(0); d < HEAD_PAD; d += EVN_LANE_ITEMS) {
		if (d < HEAD_DIM)
			k_put(a->k_cache + tile, at, d, x);
		v_put(a->v_cache + tile, at, d, x + HEAD_PAD);
	}
	barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE);
}
