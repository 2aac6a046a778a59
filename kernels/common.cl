// common.cl - the helpers that all kernels share. The baseline is OpenCL C 1.2 with f32: no fp16 arithmetic, no
// sub-groups.
#include "constants.h"
#include "variants.h"

// LANES: the rows of a weight tile, or the columns of a row of activations, that a work-item computes at once.
//   16  vectors. A work-group is one item, whose vectors fill the registers of a CPU's core.
//   1   scalars. Sixteen items side by side hold what is one vector there, so that a sub-group of a GPU reads whole
//       cache lines and an item needs few registers.
// Weight formats and the arithmetic of products are written once, with the types below. What differs in more than its
// types has a kernel of its own in lanes/.
#ifndef LANES
#define LANES 16
#endif
#if LANES == 16
typedef float16 floats;
typedef int16 ints;
typedef uint16 words;
typedef uchar16 bytes;
typedef char16 chars;
#define to_floats convert_float16
#define to_words convert_uint16
#define as_floats as_float16
#define as_ints as_int16
#define as_chars as_char16
#else
typedef float floats;
typedef int ints;
typedef uint words;
typedef uchar bytes;
typedef char chars;
#define to_floats convert_float
#define to_words convert_uint
#define as_floats as_float
#define as_ints as_int
#define as_chars as_char
#define TILE_ROW (get_local_id(0) % EVN_TILE_ROWS) // the item's row of its tile
#endif

// For kernels that are written with vectors. It tells a compiler not to merge work-items into vectors of its own,
// which takes minutes on an unrolled body.
#define IN_VECTORS __attribute__((vec_type_hint(float16)))

// Without it, a compiler makes real functions of large helpers that are called several times. This costs a third of
// the speed.
#define INLINE inline __attribute__((always_inline))

// The number of a work-item in a launch by evn_launch_items.
INLINE size_t flat_id(void) { return get_global_id(1) * get_global_size(0) + get_global_id(0); }

INLINE float sum16(float16 v)
{
	float8 a = v.lo + v.hi;
	float4 b = a.lo + a.hi;
	float2 c = b.lo + b.hi;
	return c.x + c.y;
}

INLINE float max16(float16 v)
{
	float8 a = fmax(v.lo, v.hi);
	float4 b = fmax(a.lo, a.hi);
	float2 c = fmax(b.lo, b.hi);
	return fmax(c.x, c.y);
}

INLINE int sum16_int(int16 v)
{
	int8 a = v.lo + v.hi;
	int4 b = a.lo + a.hi;
	int2 c = b.lo + b.hi;
	return c.x + c.y;
}

INLINE uint max16_uint(uint16 v)
{
	uint8 a = max(v.lo, v.hi);
	uint4 b = max(a.lo, a.hi);
	uint2 c = max(b.lo, b.hi);
	return max(c.x, c.y);
}

// SiLU: x times its logistic function (Hendrycks & Gimpel 2016).
INLINE floats silu(floats x) { return x / (1.0f + exp(-x)); }

// GELU in the form with tanh (Hendrycks & Gimpel 2016): x / 2 (1 + tanh(s)) = x / (1 + exp(-2 s)) with
// s = sqrt(2 / pi) (x + 0.044715 x^3).
INLINE floats gelu_tanh(floats x)
{
	floats s = 1.5957691216057308f * x * fma(0.044715f * x, x, (floats)1.0f); // 2 s
	return x / (1.0f + exp(-s));
}

// ---- rows of activations

#if LANES == 16
INLINE floats load_columns(const global float *row, size_t i) { return vload16(i, row); }
INLINE void store_columns(floats v, size_t i, global float *row) { vstore16(v, i, row); }
#else
INLINE floats load_columns(const global float *row, size_t i) { return row[i]; }
INLINE void store_columns(floats v, size_t i, global float *row) { row[i] = v; }
#endif

// ---- weight tiles: the same value of 16 rows lies side by side

// load_words: the i-th 32-bit word of each row. A word is four consecutive bytes of a row, the first one lowest
// (devices are little-endian). load_shorts: the i-th 16 bits. load_halfs: a half as f32; the baseline has vload_half, but
// no half arithmetic.
#if LANES == 16
INLINE words load_words(const global uchar *p, uint i) { return vload16(i, (const global uint *)p); }
INLINE words load_shorts(const global uchar *p, uint i) { return to_words(vload16(i, (const global ushort *)p)); }
INLINE bytes load_bytes(const global uchar *p, uint i) { return vload16(i, p); }
INLINE floats load_halfs(const global uchar *p) { return vload_half16(0, (const global half *)p); }
#else
INLINE words load_words(const global uchar *p, uint i) { return ((const global uint *)p)[i * EVN_TILE_ROWS + TILE_ROW]; }
INLINE words load_shorts(const global uchar *p, uint i) { return ((const global ushort *)p)[i * EVN_TILE_ROWS + TILE_ROW]; }
INLINE bytes load_bytes(const global uchar *p, uint i) { return p[i * EVN_TILE_ROWS + TILE_ROW]; }
INLINE floats load_halfs(const global uchar *p) { return vload_half(TILE_ROW, (const global half *)p); }
#endif

// Stores a value of each row that the item holds; p: of the tile.
#if LANES == 16
INLINE void store_rows(floats v, global float *p) { vstore16(v, 0, p); }
#else
INLINE void store_rows(floats v, global float *p) { p[TILE_ROW] = v; }
#endif

// n bits of each byte of the words, from bit `at` on.
INLINE words fields(words v, uint at, uint n) { return v >> (words)at & (words)(((1u << n) - 1) * 0x01010101u); }

// Distributes the lowest four bits of each word to its four bytes.
INLINE words bits_to_bytes(words v) { return (v & (words)15) * (words)0x00204081u & (words)0x01010101u; }

// n bits of each byte, from bit `at` on.
INLINE bytes bits(bytes v, uint at, uint n) { return v >> (bytes)at & (bytes)((1u << n) - 1); }
