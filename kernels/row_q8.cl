// row_q8.cl - tiles times a row of 8-bit activations: integer dot products of four bytes at once. Comes after group_q8.cl.

// acc + the group of the tile at b times x.
INLINE float16 multiply_group(float16 acc, const global uchar *b, uint g, q8_group x)
{
	int16 dot = begin_group(x);
#pragma unroll
	for (uint i = 0; i < GROUP_LEN / 4; i++)
		dot = dot4(dot, tile_word(b, g, i), &x.words[i]);
	float16 scale, offset;
	tile_scale(b, g, &scale, &offset);
	return end_group(acc, dot, scale, offset, x);
}

// Asks for the bytes of the tiles at blocks that are multiplied some steps after step s: of the same tiles or, beyond their
// n_steps, of the tiles that follow, `next` steps after these. The processor's own guesses read 17 to 19 GB/s of Q8_0 on two
// Zen 4 cores, these 21 to 23. Into the second cache: asked into the first they make decoding slower by a fifth.
#define FETCH_STEPS (256 / STEP_LEN)
INLINE void fetch_ahead(const global uchar *const *blocks, uint s, uint n_steps, uint next)
{
#ifdef X86_ASSEMBLY
	uint then = s + min((uint)FETCH_STEPS, n_steps);
	then += then < n_steps ? 0 : next - n_steps;
#pragma unroll
	for (uint i = 0; i < TILES; i++)
#pragma unroll
		for (uint line = 0; line < STEP_BYTES * TILE_ROWS; line += 64)
			__asm__ volatile("prefetcht1 %0" : : "m"(STEP(blocks[i], then)[line]));
#endif
}

// acc[i] += the tile at blocks[i] times row, over steps first, first + SLICES, ... below n_steps. What is multiplied after
// these tiles lies `next` steps behind them.
INLINE void multiply_row(float16 *acc, const global uchar *const *blocks, const global uchar *row, uint first, uint n_steps,
                         uint next)
{
	for (uint s = first; s < n_steps; s += SLICES) {
		fetch_ahead(blocks, s, n_steps, next);
		size_t step = (size_t)s * (STEP_BYTES * TILE_ROWS);
		for (uint g = 0; g < STEP_LEN / GROUP_LEN; g++) { // not unrolled: a K format's step would be thousands of instructions
			q8_group x = load_group(row, s, g);
#pragma unroll
			for (uint i = 0; i < TILES; i++)
				acc[i] = multiply_group(acc[i], blocks[i] + step, g, x);
		}
	}
}
