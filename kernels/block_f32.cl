// block_f32.cl - the product of a tile with EVN_BLOCK_TOKENS rows of f32 activations. A group of weights is decoded
// once and multiplied with all rows, so decoding costs little, and the sums stay in registers. Parameters: WEIGHTS.
#include "tile.cl"

#define ROW_BYTES(columns) ((columns) * 4)

// acc[t] += the first n_steps of the tile times row t of x.
INLINE void add_steps(float16 *acc, const global uchar *x, size_t row_bytes, const global uchar *tile, uint n_steps)
{
	const global float *xs = (const global float *)x;
	size_t x_stride = row_bytes / 4;
	for (uint s = 0; s < n_steps; s++) {
		const global uchar *b = STEP(tile, s);
#pragma unroll
		for (uint g = 0; g < STEP_LEN / GROUP_LEN; g++, xs += GROUP_LEN) {
			float16 weights[GROUP_LEN], scale, offset = 0.0f;
			tile_scale(b, g, &scale, &offset);
#pragma unroll
			for (uint k = 0; k < GROUP_LEN; k++)
				weights[k] = tile_weight(b, g, k, scale, offset);
			for (uint k = 0; k < GROUP_LEN; k++) {
#pragma unroll
				for (uint t = 0; t < EVN_BLOCK_TOKENS; t++)
					acc[t] = fma(weights[k], (float16)xs[t * x_stride + k], acc[t]);
			}
		}
	}
}
