// group_q8.cl - a group of a row of 8-bit activations (blocks as in q8.cl) and its products with weights. Comes after tile.cl,
// dot4.cl and q8.cl.
#define ROW_BYTES(columns) ((columns) / 32 * Q8_BYTES)

typedef struct {
	const global uint *words; // of four bytes
	float scale, scaled_sum;
	int sum; // of the bytes
} q8_group;

// Group g of step s.
INLINE q8_group load_group(const global uchar *row, uint s, uint g)
{
	uint column = s * STEP_LEN + g * GROUP_LEN;
	const global uchar *block = row + column / 32 * Q8_BYTES;
	q8_group x = {(const global uint *)(block + column % 32), q8_scale(block)};
#if GROUP_LEN == 32
	x.sum = q8_sum(block);
	x.scaled_sum = q8_scaled_sum(block);
#else
	x.sum = q8_half_sum(block, column / 16 % 2);
	x.scaled_sum = x.scale * (float)x.sum;
#endif
	return x;
}

// What the dot products of the weights' bytes begin with, so that ZERO is off them in the end.
INLINE int16 begin_group(q8_group x) { return (int16)(-DOT_ZERO * x.sum); }

// acc + the group of the tile at b times x, from the dot products. The integers are exact: the only roundings are those of
// scale and offset.
INLINE float16 end_group(float16 acc, int16 dot, float16 scale, float16 offset, q8_group x)
{
	acc = fma(scale * x.scale, convert_float16(dot), acc);
#ifdef HAS_OFFSET
	acc = fma(offset, (float16)x.scaled_sum, acc);
#endif
	return acc;
}
