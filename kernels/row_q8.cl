// row_q8.cl - the product of tiles with a row of 8-bit activations, by integer dot products of four bytes.
// Parameters: those of tile.cl for an integer format, and those of dot4.cl.
#include "group_q8.cl"

// acc + the group of the tile at b times x.
INLINE float16 multiply_group(float16 acc, const global uchar *b, uint g, q8_group x)
{
	int16 dot = begin_group(x);
#pragma unroll
	for (uint i = 0; i < GROUP_LEN / 4; i++)
		dot = dot4(dot, tile_word(b, g, i), x.words[i]);
	float16 scale, offset;
	group_scale(b, g, &scale, &offset);
	return end_group(acc, dot, scale, offset, x);
}

// Prefetches a group's part of the bytes of a later step. A whole step at once would fill the queue of outstanding
// loads (a step of Q6_K has 53 cache lines; with it decoding took twice as long). The hardware prefetcher reads 17 to
// 19 GB/s of Q8_0 on two Zen 4 cores, these prefetches 21 to 23. They go to the second-level cache: prefetching to
// the first level makes decoding slower by a fifth.
#define LINE 64 // bytes
#define GROUP_LINES ((STEP_BYTES * EVN_TILE_ROWS + STEP_GROUPS * LINE - 1) / (STEP_GROUPS * LINE))
INLINE void fetch_group(const global uchar *b, uint g)
{
#ifdef X86_ASSEMBLY
#pragma unroll
	for (uint i = 0; i < GROUP_LINES; i++)
		__asm__ volatile("prefetcht1 %0" : : "m"(b[(g * GROUP_LINES + i) * LINE]));
#endif
}

// The step to prefetch while step s is multiplied: some steps later, or, beyond n_steps, a step of the next tiles,
// which begin `next` steps after these.
#define FETCH_STEPS (256 / STEP_LEN)
INLINE uint step_ahead(uint s, uint n_steps, uint next)
{
	uint then = s + min((uint)FETCH_STEPS, n_steps);
	return then < n_steps ? then : then + next - n_steps;
}

// acc[i] += the first n_steps of the tile at blocks[i] times row. The tiles that are multiplied after these begin `next`
// steps later.
INLINE void multiply_row(float16 *acc, const global uchar *const *blocks, const global uchar *row, uint n_steps, uint next)
{
	for (uint s = 0; s < n_steps; s++) {
		const size_t step_bytes = STEP_BYTES * EVN_TILE_ROWS, step = s * step_bytes, ahead = step_ahead(s, n_steps, next) * step_bytes;
		for (uint g = 0; g < STEP_GROUPS; g++) { // not unrolled: the step of a K format would be thousands of instructions
			q8_group x = load_group(row, s, g);
#pragma unroll
			for (uint i = 0; i < TILES; i++) {
				fetch_group(blocks[i] + ahead, g);
				acc[i] = multiply_group(acc[i], blocks[i] + step, g, x);
			}
		}
	}
}
