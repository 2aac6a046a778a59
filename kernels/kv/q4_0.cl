// q4_0.cl - the KV cache in 4 bits. A value is its code minus 8 times a scale, a half: as in the weights of this name, the
// value of largest magnitude is -8 times the scale. Each position has a scale for each block of 32 dimensions (the
// last block may have 16). A byte has a dimension of the first half of a block in its low bits and one of the second half
// in its high ones. A tile has first the codes, in key tiles 16 positions for each such pair, in value tiles 16 pairs of a
// block for each position; then the scales as in q8_0.cl.
#include "common.cl"
#include "head_dims.cl"

#define BLOCKS ((HEAD_VECS + 1) / 2)
#define CODE_BYTES (EVN_KV_TILE * 16 * BLOCKS)
#define KV_TILE_BYTES (CODE_BYTES + 16 * BLOCKS * 2)
#define PAIR(dim) ((dim) / 32 * 16 + (dim) % 16)
#define SHIFT(dim) ((dim) / 16 % 2 * 4)

INLINE const global half *scales_of(const global uchar *tile) { return (const global half *)(tile + CODE_BYTES); }

// Codes, rounded to even by their lowest bits after adding 1.5 * 2^23. There is no +8.
INLINE words code_of(floats x, floats inverse)
{
	return to_words(min(as_ints(fma(x, inverse, (floats)12582912.0f)) - (ints)(0x4b400000 - 8), (ints)15));
}

#if LANES == 16
INLINE float16 decode(uchar16 pairs, uint shift)
{
	return convert_float16(convert_char16(pairs >> (uchar16)shift & (uchar16)15) - (char16)8);
}

INLINE float16 k_load(const global uchar *tile, uint dim)
{
	return decode(vload16(PAIR(dim), tile), SHIFT(dim)) * vload_half16(dim / 32, scales_of(tile));
}

INLINE float16 v_load(const global uchar *tile, uint at, uint vec)
{
	float scale = vload_half(at * BLOCKS + vec / 2, scales_of(tile));
	return decode(vload16(at * BLOCKS + vec / 2, tile), vec % 2 * 4) * scale;
}

// The pairs of block `block` of x, whose scale is stored at scale_at. The inverse is that of the rounded half, because
// the codes are multiplied by that.
INLINE uchar16 encode(global uchar *tile, uint scale_at, uint block, const float *x)
{
	float16 lo = vload16(2 * block, x), hi = 0.0f;
	if (2 * block + 1 < HEAD_VECS)
		hi = vload16(2 * block + 1, x);
	float lanes[32], extreme = 0.0f;
	vstore16(lo, 0, lanes);
	vstore16(hi, 1, lanes);
	for (uint i = 0; i < 32; i++)
		extreme = fabs(lanes[i]) > fabs(extreme) ? lanes[i] : extreme;
	vstore_half_rte(extreme / -8.0f, scale_at, (global half *)(tile + CODE_BYTES));
	float scale = vload_half(scale_at, scales_of(tile));
	float inverse = scale != 0.0f ? 1.0f / scale : 0.0f;
	return convert_uchar16(code_of(lo, (float16)inverse) | code_of(hi, (float16)inverse) << (uint16)4);
}

INLINE void k_store(global uchar *tile, uint at, const float *x)
{
	for (uint b = 0; b < BLOCKS; b++) {
		uchar pairs[16];
		vstore16(encode(tile, b * 16 + at, b, x), 0, pairs);
		for (uint i = 0; i < 16; i++)
			tile[(b * 16 + i) * 16 + at] = pairs[i];
	}
}

INLINE void v_store(global uchar *tile, uint at, const float *x)
{
	for (uint b = 0; b < BLOCKS; b++)
		vstore16(encode(tile, at * BLOCKS + b, b, x), at * BLOCKS + b, tile);
}
#else
INLINE float decode(uchar pair, uint dim) { return (float)((int)(pair >> SHIFT(dim) & 15) - 8); }

INLINE float k_at(const global uchar *tile, uint dim, uint at)
{
	return decode(tile[PAIR(dim) * 16 + at], dim) * vload_half(dim / 32 * 16 + at, scales_of(tile));
}

INLINE float v_at(const global uchar *tile, uint at, uint dim)
{
	return decode(tile[at * (16 * BLOCKS) + PAIR(dim)], dim) * vload_half(at * BLOCKS + dim / 32, scales_of(tile));
}

// The byte of x[dim] and of x[dim + 16], which is not read if the head ends before; dim is in the first half of a block. The
// items with its first dimension write the block's scale.
INLINE uchar encode(global uchar *tile, uint scale_at, uint dim, const local float *x)
{
	const uint begin = dim / 32 * 32, end = min(begin + 32, (uint)HEAD_PAD);
	float extreme = 0.0f;
	for (uint i = begin; i < end; i++)
		extreme = fabs(x[i]) > fabs(extreme) ? x[i] : extreme;
	// codes are multiplied by the scale as a half: eleven bits, rounded to even
	const uint exact = as_uint(extreme * -0.125f);
	const float scale = as_float((exact + 0xfffu + (exact >> 13 & 1u)) & 0xffffe000u);
	if (dim == begin)
		vstore_half_rte(scale, scale_at, (global half *)(tile + CODE_BYTES));
	const float inverse = fabs(scale) >= 0x1p-24f ? 1.0f / scale : 0.0f;
	return (uchar)(code_of(x[dim], inverse) | code_of(x[min(dim + 16, end - 1)], inverse) << 4);
}

// Both items of a pair write the same. If only one did, the kernel that PoCL 3.1 makes of lanes/attention.cl would write
// nothing at all.
#define FIRST(dim) ((dim) / 32 * 32 + (dim) % 16)
INLINE void k_put(global uchar *tile, uint at, uint dim, const local float *x)
{
	tile[PAIR(dim) * 16 + at] = encode(tile, dim / 32 * 16 + at, FIRST(dim), x);
}

INLINE void v_put(global uchar *tile, uint at, uint dim, const local float *x)
{
	tile[at * (16 * BLOCKS) + PAIR(dim)] = encode(tile, at * BLOCKS + dim / 32, FIRST(dim), x);
}
#endif
