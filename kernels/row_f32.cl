// row_f32.cl - tiles times a row of f32 activations. Parameters: those of tile.cl.
#include "tile.cl"

#define ROW_BYTES(columns) ((columns) * 4)

// Sum of a group of x, by which the offsets are multiplied.
INLINE float group_sum(const global float *x)
{
	float16 sum = vload16(0, x);
#if GROUP_LEN == 32
	sum += vload16(1, x);
#endif
	return sum16(sum);
}

// acc[i] += the tile at blocks[i] times row, over steps first, first + SLICES, ... below n_steps. `next` as in row_q8.cl; not
// read, since weights without blocks come as fast as memory gives them anyway.
INLINE void multiply_row(float16 *acc, const global uchar *const *blocks, const global uchar *row, uint first, uint n_steps,
                         uint next)
{
	for (uint s = first; s < n_steps; s += SLICES) {
#pragma unroll
		for (uint g = 0; g < STEP_LEN / GROUP_LEN; g++) {
			const global float *xg = (const global float *)row + s * STEP_LEN + g * GROUP_LEN;
			size_t step = (size_t)s * (STEP_BYTES * EVN_TILE_ROWS);
			float16 even[TILES], odd[TILES]; // two chains of sums hide the latency of a multiply-add
#pragma unroll
			for (uint i = 0; i < TILES; i++)
				even[i] = odd[i] = 0.0f;
#pragma unroll
			for (uint k = 0; k < GROUP_LEN; k += 2) {
#pragma unroll
				for (uint i = 0; i < TILES; i++) {
					even[i] = fma(tile_quant(blocks[i] + step, g, k), (float16)xg[k], even[i]);
					odd[i] = fma(tile_quant(blocks[i] + step, g, k + 1), (float16)xg[k + 1], odd[i]);
				}
			}
#ifdef HAS_OFFSET
			float xs = group_sum(xg);
#endif
#pragma unroll
			for (uint i = 0; i < TILES; i++) {
				float16 scale, offset;
				tile_scale(blocks[i] + step, g, &scale, &offset);
				acc[i] = fma(scale, even[i] + odd[i], acc[i]);
#ifdef HAS_OFFSET
				acc[i] = fma(offset, (float16)xs, acc[i]);
#endif
			}
		}
	}
}
