// block_q8.cl - columns of weights and of 8-bit activations in local memory, and their products by integer dot products of
// four bytes. Parameters: those of lanes/blocks.cl and of dot4.cl.
#include "lanes/block_shape.cl"
#include "group_q8.cl"

#define WORDS (GROUP_LEN / 4)
#if WORDS == 8
typedef uint4 half_words;
#else
typedef uint2 half_words;
#endif
// True if the dot products of a group begin at zero (group_q8.cl).
#if GROUP_LEN == 16 || defined(HAS_OFFSET)
#define FROM_ZERO 1
#else
#define FROM_ZERO 0
#endif
#define PITCH (BLOCK_ROWS + 4) // words, so that the two halves of a row lie in different banks

typedef struct {
	uint4 w[WORDS][PITCH / 4], x[WORDS][PITCH / 4]; // [word][row], [word][token]
	float4 scale[BLOCK_ROWS / 4], offset[BLOCK_ROWS / 4];
	float x_scale[BLOCK_TOKENS], x_sum[BLOCK_TOKENS]; // scaled sums, or what the dot products begin at
} staged;

// Two items stage the words of a token.
#define STAGED_TOKEN (ITEM / 2)

// Stages group g of step s. tile and x: of the weights and the token that the item stages.
INLINE void stage(local staged *m, const global uchar *tile, const global uchar *x, uint s, uint g)
{
	const uint row = DECODED_TILE * EVN_TILE_ROWS + TILE_ROW, w_first = DECODED_HALF * (WORDS / 2);
	const uint token = STAGED_TOKEN, x_first = ITEM % 2 * (WORDS / 2);
	const global uchar *b = STEP(tile, s);
#pragma unroll 2 // with all words at once Q5_K would need 150 registers of AMD's
	for (uint i = 0; i < WORDS / 2; i++)
		((local uint *)m->w[w_first + i])[row] = tile_word(b, g, w_first + i);
	if (w_first == 0) {
		float scale, offset = 0.0f;
		group_scale(b, g, &scale, &offset);
		((local float *)m->scale)[row] = scale;
		((local float *)m->offset)[row] = offset;
	}
	const half_words words = *(const global half_words *)(group_words(x, s, g) + x_first * 4);
	((local uint *)m->x[x_first])[token] = words.x;
	((local uint *)m->x[x_first + 1])[token] = words.y;
#if WORDS == 8
	((local uint *)m->x[x_first + 2])[token] = words.z;
	((local uint *)m->x[x_first + 3])[token] = words.w;
#endif
	if (x_first == 0) {
		// the scale, the sum of the bytes and the scaled sums of both halves (constants.h)
		const float4 of_block = *(const global float4 *)(group_words(x, s, g / (32 / GROUP_LEN) * (32 / GROUP_LEN)) + EVN_Q8_SCALE);
		m->x_scale[token] = of_block.x;
#if GROUP_LEN == 16
		m->x_sum[token] = g % 2 ? of_block.w : of_block.z;
#elif defined(HAS_OFFSET)
		m->x_sum[token] = of_block.z + of_block.w;
#else
		q8_group of_token;
		of_token.sum = as_int(of_block.y);
		m->x_sum[token] = as_float(begin_group(of_token));
#endif
	}
}

// acc += the products of group g of step s.
INLINE void multiply_staged(float acc[ITEM_TOKENS][ITEM_ROWS], local staged *m, const global uchar *tile, const global uchar *x,
                            uint s, uint g)
{
	int dot[ITEM_TOKENS][ITEM_ROWS];
	stage(m, tile, x, s, g);
	barrier(CLK_LOCAL_MEM_FENCE);
#pragma unroll
	for (uint t = 0; t < ITEM_TOKENS; t++)
#pragma unroll
		for (uint r = 0; r < ITEM_ROWS; r++)
			dot[t][r] = FROM_ZERO ? 0 : as_int(m->x_sum[ITEM_TOKEN + t]);
#pragma unroll 2 // more would need more registers
	for (uint i = 0; i < WORDS; i++) {
		const uint4 w = m->w[i][ITEM_ROW / 4], low = m->x[i][ITEM_TOKEN / 4], high = m->x[i][ITEM_TOKEN / 4 + 1];
		const uint words_of[ITEM_TOKENS] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
		for (uint t = 0; t < ITEM_TOKENS; t++) {
			dot[t][0] = dot4(dot[t][0], w.x, words_of[t]);
			dot[t][1] = dot4(dot[t][1], w.y, words_of[t]);
			dot[t][2] = dot4(dot[t][2], w.z, words_of[t]);
			dot[t][3] = dot4(dot[t][3], w.w, words_of[t]);
		}
	}
	q8_group of_token;
	const float4 scale = m->scale[ITEM_ROW / 4];
#pragma unroll
	for (uint t = 0; t < ITEM_TOKENS; t++) {
		of_token.scale = m->x_scale[ITEM_TOKEN + t];
		acc[t][0] = add_dot(acc[t][0], dot[t][0], scale.x, of_token);
		acc[t][1] = add_dot(acc[t][1], dot[t][1], scale.y, of_token);
		acc[t][2] = add_dot(acc[t][2], dot[t][2], scale.z, of_token);
		acc[t][3] = add_dot(acc[t][3], dot[t][3], scale.w, of_token);
	}
	// in a loop of its own, so that fewer registers are needed at once
	const float4 offset = m->offset[ITEM_ROW / 4];
#pragma unroll
	for (uint t = 0; t < ITEM_TOKENS; t++) {
		of_token.scaled_sum = m->x_sum[ITEM_TOKEN + t];
		acc[t][0] = add_offset(acc[t][0], offset.x, of_token);
		acc[t][1] = add_offset(acc[t][1], offset.y, of_token);
		acc[t][2] = add_offset(acc[t][2], offset.z, of_token);
		acc[t][3] = add_offset(acc[t][3], offset.w, of_token);
	}
	barrier(CLK_LOCAL_MEM_FENCE);
}
