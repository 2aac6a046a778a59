// block_q8.cl - the product of a tile with EVN_BLOCK_TOKENS rows of 8-bit activations. A word of weights is decoded
// once for all rows. Parameters: those of group_q8.cl.
#include "group_q8.cl"

// acc[t] += the first n_steps of the tile times row t of x.
INLINE void add_steps(float16 *acc, const global uchar *x, size_t row_bytes, const global uchar *tile, uint n_steps)
{
	for (uint s = 0; s < n_steps; s++) {
		const global uchar *b = STEP(tile, s);
		for (uint g = 0; g < STEP_GROUPS; g++) {
			// the groups of x are loaded each time: the compiler of Mesa 22.3 crashes on an array of them
			int16 dots[EVN_BLOCK_TOKENS];
#pragma unroll
			for (uint t = 0; t < EVN_BLOCK_TOKENS; t++)
				dots[t] = begin_group(load_group(x + t * row_bytes, s, g));
#pragma unroll
			for (uint i = 0; i < GROUP_LEN / 4; i++) {
				uint16 word = tile_word(b, g, i);
#pragma unroll
				for (uint t = 0; t < EVN_BLOCK_TOKENS; t++)
					dots[t] = dot4(dots[t], word, load_group(x + t * row_bytes, s, g).words[i]);
			}
			float16 scale, offset;
			group_scale(b, g, &scale, &offset);
#pragma unroll
			for (uint t = 0; t < EVN_BLOCK_TOKENS; t++)
				acc[t] = end_group(acc[t], dots[t], scale, offset, load_group(x + t * row_bytes, s, g));
		}
	}
}
