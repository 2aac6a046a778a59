// matmul_q8.cl - Y = X W^T for TOKENS tokens at once, X in 8-bit blocks (q8.cl), W in tiles of 16 rows in its file's own
// quantised blocks. Comes after tile.cl, dot4.cl and q8.cl. A word of weights is decoded once for all TOKENS inputs.

// y[token][y_offset + row] = W[row] . x[token], x of n_steps * STEP_LEN columns. W begins with step `begin` of w, where a
// tile has tile_steps. Work-item (tile, block of TOKENS).
kernel IN_VECTORS __attribute__((reqd_work_group_size(1, 1, 1)))
void matmul(global float *y, uint y_stride, uint y_offset, const global uchar *x, uint x_stride, const global uchar *w,
            uint begin, uint tile_steps, uint n_steps)
{
	size_t tile = get_group_id(0), first = get_group_id(1) * TOKENS, row_bytes = x_stride / 32 * Q8_BYTES;
	const global uchar *xs = x + first * row_bytes, *b = STEP(w, begin + tile * tile_steps);
	float16 sums[TOKENS];
#pragma unroll
	for (uint t = 0; t < TOKENS; t++)
		sums[t] = 0.0f;
	for (uint s = 0; s < n_steps; s++, b += STEP_BYTES * TILE_ROWS) {
		for (uint g = 0; g < STEP_LEN / GROUP_LEN; g++) {
			uint column = s * STEP_LEN + g * GROUP_LEN;
			const global uchar *block = xs + column / 32 * Q8_BYTES;
			int16 dots[TOKENS];
			int byte_sums[TOKENS];
#pragma unroll
			for (uint t = 0; t < TOKENS; t++) {
				const global uchar *bt = block + t * row_bytes;
				byte_sums[t] = GROUP_LEN == 32 ? q8_sum(bt, 0) + q8_sum(bt, 1) : q8_sum(bt, column / 16 % 2);
				dots[t] = (int16)(-DOT_ZERO * byte_sums[t]);
			}
#pragma unroll
			for (uint i = 0; i < GROUP_LEN / 4; i++) {
				uint16 word = tile_word(b, g, i);
#pragma unroll
				for (uint t = 0; t < TOKENS; t++)
					dots[t] = dot4(dots[t], word, (const global uint *)(block + t * row_bytes + column % 32) + i);
			}
			float16 scale, offset;
			tile_scale(b, g, &scale, &offset);
#pragma unroll
			for (uint t = 0; t < TOKENS; t++) {
				float x_scale = q8_scale(block + t * row_bytes);
				sums[t] = fma(scale * x_scale, convert_float16(dots[t]), sums[t]);
#ifdef HAS_OFFSET
				sums[t] = fma(offset, (float16)(x_scale * (float)byte_sums[t]), sums[t]);
#endif
			}
		}
	}
	global float *out = y + first * y_stride + y_offset + tile * TILE_ROWS;
#pragma unroll
	for (uint t = 0; t < TOKENS; t++)
		vstore16(sums[t], 0, out + t * y_stride);
}
