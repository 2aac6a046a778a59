// row_f32.cl - the products of a work-item's rows with TOKENS rows of f32 activations. Parameters: those of
// lanes/tiles.cl.
#include "lanes/width.cl"
#include "tile.cl"

#define ROW_BYTES(columns) ((columns) * 4)

// As in row_q8.cl; a column takes more instructions here, so code would also become long.
#if TOKENS > 1 || TILES * UNIT_GROUPS * GROUP_LEN > 64
#define UNROLL_UNIT _Pragma("unroll 1")
#else
#define UNROLL_UNIT _Pragma("unroll")
#endif

// Several rows, or units of many groups: a loop costs little then. Unrolled, code would be longer than instruction caches.
#if TOKENS > 1 || UNIT_GROUPS > 2
#define UNROLL_COLUMNS _Pragma("unroll 2")
#else
#define UNROLL_COLUMNS _Pragma("unroll")
#endif

// acc[i][t] += groups [first, first + UNIT_GROUPS) of step s of the tile at blocks[i] times row t of x, column by column.
INLINE void multiply_unit(float acc[TILES][TOKENS], const global uchar *const *blocks, const global uchar *x, size_t row_bytes,
                          uint s, uint first)
{
	UNROLL_UNIT
	for (uint g = first; g < first + UNIT_GROUPS; g++) {
		float scale[TILES], offset[TILES];
#pragma unroll
		for (uint i = 0; i < TILES; i++) {
			offset[i] = 0.0f;
			tile_scale(STEP(blocks[i], s), g, &scale[i], &offset[i]);
		}
		UNROLL_COLUMNS
		for (uint k = 0; k < GROUP_LEN; k += 4) {
			float4 xs[TOKENS];
#pragma unroll
			for (uint t = 0; t < TOKENS; t++) // rows begin at multiples of 128 bytes
				xs[t] = *(const global float4 *)(x + t * row_bytes + ROW_BYTES(s * STEP_LEN + g * GROUP_LEN + k));
#pragma unroll
			for (uint i = 0; i < TILES; i++) {
				const global uchar *b = STEP(blocks[i], s);
				float4 w = (float4)(tile_weight(b, g, k, scale[i], offset[i]), tile_weight(b, g, k + 1, scale[i], offset[i]),
				                    tile_weight(b, g, k + 2, scale[i], offset[i]), tile_weight(b, g, k + 3, scale[i], offset[i]));
#pragma unroll
				for (uint t = 0; t < TOKENS; t++)
					acc[i][t] = fma(w.w, xs[t].w, fma(w.z, xs[t].z, fma(w.y, xs[t].y, fma(w.x, xs[t].x, acc[i][t]))));
			}
		}
	}
}
