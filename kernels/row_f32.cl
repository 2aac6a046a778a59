// row_f32.cl - the product of tiles with a row of f32 activations. Parameters: those of tile.cl.
#include "tile.cl"

#define ROW_BYTES(columns) ((columns) * 4)

// acc[i] += the first n_steps of the tile at blocks[i] times row. The order of summation is that of block_f32.cl, so a
// row has the same bits alone and in a block. `next` is for row_q8.cl. It is not used here, because float weights
// already arrive at the speed of the memory.
INLINE void multiply_row(float16 *acc, const global uchar *const *blocks, const global uchar *row, uint n_steps, uint next)
{
	for (uint s = 0; s < n_steps; s++) {
#pragma unroll
		for (uint g = 0; g < STEP_LEN / GROUP_LEN; g++) {
			const global float *xg = (const global float *)row + s * STEP_LEN + g * GROUP_LEN;
			size_t step = (size_t)s * (STEP_BYTES * EVN_TILE_ROWS);
			float16 scale[TILES], offset[TILES];
#pragma unroll
			for (uint i = 0; i < TILES; i++) {
				offset[i] = 0.0f;
				tile_scale(blocks[i] + step, g, &scale[i], &offset[i]);
			}
#pragma unroll
			for (uint k = 0; k < GROUP_LEN; k++) {
#pragma unroll
				for (uint i = 0; i < TILES; i++)
					acc[i] = fma(tile_weight(blocks[i] + step, g, k, scale[i], offset[i]), (float16)xg[k], acc[i]);
			}
		}
	}
}
