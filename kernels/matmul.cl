// matmul.cl - Y = X W^T for TOKENS tokens at once, W in tiles of 16 rows in its file's own quantised blocks. Comes after
// tile.cl. A group of weights is decoded once and multiplied by all TOKENS inputs, so decoding costs little and the sums
// stay in registers.

// y[token][y_offset + row] = W[row] . x[token], x of n_steps * STEP_LEN columns. W begins with step `begin` of w, where a
// tile has tile_steps. Work-item (tile, block of TOKENS).
kernel IN_VECTORS __attribute__((reqd_work_group_size(1, 1, 1)))
void matmul(global float *y, uint y_stride, uint y_offset, const global float *x, uint x_stride, const global uchar *w,
            uint begin, uint tile_steps, uint n_steps)
{
	size_t tile = get_group_id(0), first = get_group_id(1) * TOKENS;
	const global float *xs = x + first * x_stride;
	const global uchar *b = STEP(w, begin + tile * tile_steps);
	float16 sums[TOKENS];
#pragma unroll
	for (uint t = 0; t < TOKENS; t++)
		sums[t] = 0.0f;
	for (uint s = 0; s < n_steps; s++, b += STEP_BYTES * TILE_ROWS) {
#pragma unroll
		for (uint g = 0; g < STEP_LEN / GROUP_LEN; g++, xs += GROUP_LEN) {
			float16 weights[GROUP_LEN], scale, offset = 0.0f;
			tile_scale(b, g, &scale, &offset);
#pragma unroll
			for (uint k = 0; k < GROUP_LEN; k++)
				weights[k] = fma(scale, tile_quant(b, g, k), offset);
			for (uint k = 0; k < GROUP_LEN; k++) {
#pragma unroll
				for (uint t = 0; t < TOKENS; t++)
					sums[t] = fma(weights[k], (float16)xs[t * x_stride + k], sums[t]);
			}
		}
	}
	global float *out = y + first * y_stride + y_offset + tile * TILE_ROWS;
#pragma unroll
	for (uint t = 0; t < TOKENS; t++)
		vstore16(sums[t], 0, out + t * y_stride);
}
