// f32.cl - the KV cache in f32. A tile is 16 positions. A key tile has 16 lanes, one for each position, for each
// dimension. A value tile has a row for each position.
#include "common.cl"
#include "head_dims.cl"

#define KV_TILE_BYTES (EVN_KV_TILE * HEAD_PAD * 4)

#if LANES == 16
INLINE float16 k_load(const global uchar *tile, uint dim) { return vload16(dim, (const global float *)tile); }
INLINE float16 v_load(const global uchar *tile, uint at, uint vec)
{
	return vload16(at * HEAD_VECS + vec, (const global float *)tile);
}

INLINE void k_store(global uchar *tile, uint at, const float *x)
{
	for (uint i = 0; i < HEAD_DIM; i++)
		((global float *)tile)[i * 16 + at] = x[i];
}

INLINE void v_store(global uchar *tile, uint at, const float *x)
{
	for (uint i = 0; i < HEAD_VECS; i++)
		vstore16(vload16(i, x), at * HEAD_VECS + i, (global float *)tile);
}
#else
INLINE float k_at(const global uchar *tile, uint dim, uint at) { return ((const global float *)tile)[dim * 16 + at]; }
INLINE float v_at(const global uchar *tile, uint at, uint dim) { return ((const global float *)tile)[at * HEAD_PAD + dim]; }

// Writes dimension `dim` of the key or value x of a position. All items that have a dimension of x call it.
INLINE void k_put(global uchar *tile, uint at, uint dim, const local float *x) { ((global float *)tile)[dim * 16 + at] = x[dim]; }
INLINE void v_put(global uchar *tile, uint at, uint dim, const local float *x) { ((global float *)tile)[at * HEAD_PAD + dim] = x[dim]; }
#endif
