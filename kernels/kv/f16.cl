// f16.cl - the KV cache in halfs. Tiles are laid out as in f32.cl.
#include "common.cl"
#include "head_dims.cl"

#define KV_TILE_BYTES (EVN_KV_TILE * HEAD_PAD * 2)

#if LANES == 16
INLINE float16 k_load(const global uchar *tile, uint dim) { return vload_half16(dim, (const global half *)tile); }
INLINE float16 v_load(const global uchar *tile, uint at, uint vec)
{
	return vload_half16(at * HEAD_VECS + vec, (const global half *)tile);
}

INLINE void k_store(global uchar *tile, uint at, const float *x)
{
	for (uint i = 0; i < HEAD_DIM; i++)
		vstore_half_rte(x[i], i * 16 + at, (global half *)tile);
}

INLINE void v_store(global uchar *tile, uint at, const float *x)
{
	for (uint i = 0; i < HEAD_VECS; i++)
		vstore_half16_rte(vload16(i, x), at * HEAD_VECS + i, (global half *)tile);
}
#else
INLINE float k_at(const global uchar *tile, uint dim, uint at) { return vload_half(dim * 16 + at, (const global half *)tile); }
INLINE float v_at(const global uchar *tile, uint at, uint dim) { return vload_half(at * HEAD_PAD + dim, (const global half *)tile); }
INLINE void k_put(global uchar *tile, uint at, uint dim, const local float *x) { vstore_half_rte(x[dim], dim * 16 + at, (global half *)tile); }
INLINE void v_put(global uchar *tile, uint at, uint dim, const local float *x)
{
	vstore_half_rte(x[dim], at * HEAD_PAD + dim, (global half *)tile);
}
#endif
