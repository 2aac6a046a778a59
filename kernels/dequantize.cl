// dequantize.cl - turns weight tiles into the f32 matrix that GEMM reads.
#include "tile.cl"

// out[k][ld] = W transposed: column k of the 16 rows of tile i is at out[k * ld + 16 * i]. W begins at step `begin`
// of w, which has tile_steps steps in a tile. Work-item (step, i); with scalars (16 step + row, i).
kernel IN_VECTORS void dequantize(global float *out, uint ld, const global uchar *w, uint begin, uint tile_steps)
{
	size_t step = get_global_id(0) / (EVN_TILE_ROWS / LANES), i = get_global_id(1);
	const global uchar *b = STEP(w, begin + i * tile_steps + step);
	global float *o = out + step * STEP_LEN * ld + i * EVN_TILE_ROWS;
	for (uint g = 0; g < STEP_GROUPS; g++) {
		floats scale, offset = 0.0f;
		tile_scale(b, g, &scale, &offset);
#pragma unroll
		for (uint k = 0; k < GROUP_LEN; k++)
			store_rows(tile_weight(b, g, k, scale, offset), o + (g * GROUP_LEN + k) * ld);
	}
}
