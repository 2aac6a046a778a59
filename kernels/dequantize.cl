// dequantize.cl - weight tiles to the f32 matrix that GEMM reads. Comes after kernels/quant/<format>.cl.

// out[k][ld] = W transposed: column k of the 16 rows of tile first_tile + i lies at out[k * ld + 16 * i].
// Work-item (step, i).
kernel IN_VECTORS void dequantize(global float *out, uint ld, const global uchar *w, uint first_tile, uint n_steps)
{
	size_t step = get_global_id(0), i = get_global_id(1);
	const global uchar *b = w + ((first_tile + i) * n_steps + step) * (STEP_BYTES * TILE_ROWS);
	global float *o = out + step * STEP_LEN * ld + i * TILE_ROWS;
	for (uint g = 0; g < STEP_LEN / GROUP_LEN; g++) {
		float16 scale, offset = 0.0f;
		tile_scale(b, g, &scale, &offset);
#pragma unroll
		for (uint k = 0; k < GROUP_LEN; k++)
			vstore16(fma(scale, tile_quant(b, g, k), offset), 0, o + (g * GROUP_LEN + k) * ld);
	}
}
