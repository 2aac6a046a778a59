// block_f32.cl - columns of weights and of f32 activations in local memory, and their products. Parameters: those of
// lanes/blocks.cl.
#include "lanes/block_shape.cl"
#include "tile.cl"

#define ROW_BYTES(columns) ((columns) * 4)
#define COLUMNS 16 // that are staged at once

typedef struct {
	float4 w[COLUMNS][BLOCK_ROWS / 4], x[COLUMNS][BLOCK_TOKENS / 4]; // [column][row], [column][token]
} staged;

// Two items stage the columns of a token.
#define STAGED_TOKEN (ITEM % BLOCK_TOKENS)

// Stages columns [first, first + COLUMNS) of group g of step s. tile and x: of the weights and the token that the item
// stages.
INLINE void stage(local staged *m, const global uchar *tile, const global uchar *x, uint s, uint g, uint first)
{
	const uint row = DECODED_TILE * EVN_TILE_ROWS + TILE_ROW, w_first = DECODED_HALF * (COLUMNS / 2);
	const uint token = STAGED_TOKEN, x_first = ITEM / BLOCK_TOKENS * (COLUMNS / 2);
	const global uchar *b = STEP(tile, s);
	float scale, offset = 0.0f;
	tile_scale(b, g, &scale, &offset);
#pragma unroll
	for (uint k = 0; k < COLUMNS / 2; k++)
		((local float *)m->w[w_first + k])[row] = tile_weight(b, g, first + w_first + k, scale, offset);
	// rows begin at multiples of 128 bytes
	const global float4 *four = (const global float4 *)(x + ROW_BYTES(s * STEP_LEN + g * GROUP_LEN + first + x_first));
#pragma unroll
	for (uint k = 0; k < COLUMNS / 2; k += 4) {
		const float4 v = four[k / 4];
		((local float *)m->x[x_first + k])[token] = v.x;
		((local float *)m->x[x_first + k + 1])[token] = v.y;
		((local float *)m->x[x_first + k + 2])[token] = v.z;
		((local float *)m->x[x_first + k + 3])[token] = v.w;
	}
}

// acc += the products of group g of step s, column by column.
INLINE void multiply_staged(float acc[ITEM_TOKENS][ITEM_ROWS], local staged *m, const global uchar *tile, const global uchar *x,
                            uint s, uint g)
{
#pragma unroll 1
	for (uint first = 0; first < GROUP_LEN; first += COLUMNS) {
		stage(m, tile, x, s, g, first);
		barrier(CLK_LOCAL_MEM_FENCE);
#pragma unroll 8
		for (uint k = 0; k < COLUMNS; k++) {
			const float4 w = m->w[k][ITEM_ROW / 4], low = m->x[k][ITEM_TOKEN / 4], high = m->x[k][ITEM_TOKEN / 4 + 1];
			const float xs[ITEM_TOKENS] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
			for (uint t = 0; t < ITEM_TOKENS; t++) {
				acc[t][0] = fma(w.x, xs[t], acc[t][0]);
				acc[t][1] = fma(w.y, xs[t], acc[t][1]);
				acc[t][2] = fma(w.z, xs[t], acc[t][2]);
				acc[t][3] = fma(w.w, xs[t], acc[t][3]);
			}
		}
		barrier(CLK_LOCAL_MEM_FENCE);
	}
}
