// q8_0.cl - the KV cache in 8 bits. A value is its code times a scale, a half. Each position has a scale for each
// block of 32 dimensions (the last block may have 16). A tile has first the codes, laid out as in f32.cl, then the
// scales: in key tiles 16 lanes for each block, in value tiles a row of blocks for each position.
#include "common.cl"
#include "head_dims.cl"

#define BLOCKS ((HEAD_VECS + 1) / 2)
#define KV_TILE_BYTES (EVN_KV_TILE * HEAD_PAD + 16 * BLOCKS * 2)

INLINE const global half *scales_of(const global uchar *tile) { return (const global half *)(tile + EVN_KV_TILE * HEAD_PAD); }

#if LANES == 16
INLINE float16 k_load(const global uchar *tile, uint dim)
{
	return convert_float16(vload16(dim, (const global char *)tile)) * vload_half16(dim / 32, scales_of(tile));
}

INLINE float16 v_load(const global uchar *tile, uint at, uint vec)
{
	float scale = vload_half(at * BLOCKS + vec / 2, scales_of(tile));
	return convert_float16(vload16(at * HEAD_VECS + vec, (const global char *)tile)) * scale;
}

// Writes the scale of x[32 block ..] and returns its inverse, or 0 for a block of zeros. The inverse is that of the
// rounded half, because the codes are multiplied by that.
INLINE float make_scale(global uchar *tile, uint at, uint block, const float *x)
{
	float16 size = fabs(vload16(2 * block, x));
	if (2 * block + 1 < HEAD_VECS)
		size = fmax(size, fabs(vload16(2 * block + 1, x)));
	float most = 0.0f, lanes[16];
	vstore16(size, 0, lanes);
	for (uint i = 0; i < 16; i++)
		most = fmax(most, lanes[i]);
	vstore_half_rte(most / 127.0f, at, (global half *)(tile + EVN_KV_TILE * HEAD_PAD));
	float scale = vload_half(at, scales_of(tile));
	return scale > 0.0f ? 1.0f / scale : 0.0f;
}

INLINE void k_store(global uchar *tile, uint at, const float *x)
{
	for (uint b = 0; b < BLOCKS; b++) {
		float inverse = make_scale(tile, b * 16 + at, b, x);
		for (uint i = 32 * b; i < 32 * b + 32 && i < HEAD_DIM; i++)
			((global char *)tile)[i * 16 + at] = convert_char_sat_rte(x[i] * inverse);
	}
}

INLINE void v_store(global uchar *tile, uint at, const float *x)
{
	for (uint b = 0; b < BLOCKS; b++) {
		float inverse = make_scale(tile, at * BLOCKS + b, b, x);
		for (uint i = 2 * b; i < 2 * b + 2 && i < HEAD_VECS; i++)
			vstore16(convert_char16_sat_rte(vload16(i, x) * inverse), at * HEAD_VECS + i, (global char *)tile);
	}
}
#else
INLINE float k_at(const global uchar *tile, uint dim, uint at)
{
	return (float)((const global char *)tile)[dim * 16 + at] * vload_half(dim / 32 * 16 + at, scales_of(tile));
}

INLINE float v_at(const global uchar *tile, uint at, uint dim)
{
	return (float)((const global char *)tile)[at * HEAD_PAD + dim] * vload_half(at * BLOCKS + dim / 32, scales_of(tile));
}

// The code of x[dim]. The item with the first dimension of a block writes the block's scale.
INLINE char encode(global uchar *tile, uint scale_at, uint dim, const local float *x)
{
	const uint begin = dim / 32 * 32, end = min(begin + 32, (uint)HEAD_PAD);
	float most = 0.0f;
	for (uint i = begin; i < end; i++)
		most = fmax(most, fabs(x[i]));
	ushort bits_of; // a half: codes are multiplied by the rounded scale
	vstore_half_rte(most / 127.0f, 0, (half *)&bits_of);
	if (dim == begin)
		((global ushort *)(tile + EVN_KV_TILE * HEAD_PAD))[scale_at] = bits_of;
	const float scale = vload_half(0, (const half *)&bits_of);
	return convert_char_sat_rte(x[dim] * (scale > 0.0f ? 1.0f / scale : 0.0f));
}

INLINE void k_put(global uchar *tile, uint at, uint dim, const local float *x)
{
	((global char *)tile)[dim * 16 + at] = encode(tile, dim / 32 * 16 + at, dim, x);
}

INLINE void v_put(global uchar *tile, uint at, uint dim, const local float *x)
{
	((global char *)tile)[at * HEAD_PAD + dim] = encode(tile, at * BLOCKS + dim / 32, dim, x);
}
#endif
