// block_q8.cl - a tile times TOKENS rows of 8-bit activations (blocks as in q8.cl) at once: a word of weights is decoded
// once for all. Comes after tile.cl, dot4.cl and q8.cl.
#define ROW_BYTES(columns) ((columns) / 32 * Q8_BYTES)

// sums[t] = the first n_steps of the tile times row t of those at x.
INLINE void multiply_block(float16 *sums, const global uchar *x, size_t row_bytes, const global uchar *tile, uint n_steps)
{
	float16 acc[TOKENS];
#pragma unroll
	for (uint t = 0; t < TOKENS; t++)
		acc[t] = 0.0f;
	for (uint s = 0; s < n_steps; s++) {
		const global uchar *b = STEP(tile, s);
		for (uint g = 0; g < STEP_LEN / GROUP_LEN; g++) {
			uint column = s * STEP_LEN + g * GROUP_LEN;
			const global uchar *block = x + column / 32 * Q8_BYTES;
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
				acc[t] = fma(scale * x_scale, convert_float16(dots[t]), acc[t]);
#ifdef HAS_OFFSET
				acc[t] = fma(offset, (float16)(x_scale * (float)byte_sums[t]), acc[t]);
#endif
			}
		}
	}
#pragma unroll
	for (uint t = 0; t < TOKENS; t++)
		sums[t] = acc[t];
}
