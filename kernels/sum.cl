// sum.cl - adds the ranks' partial sums. Parameter: MESSAGE.
#include "common.cl"
#include MESSAGE

// x = scale.x times x + scale.y times the sum of the messages of the ranks in the mask of.y (one bit for each). All messages
// are in one buffer. The message of rank r begins at byte r * of.x.
#define SUM global float *x, const global uchar *messages, ulong2 of, float2 scale
#define SUM_ARGS x, messages, of, scale

// The i-th LANES columns of the sum of messages, in rank order. It begins at -0, because adding -0 changes no number, not
// even the sign of a zero.
INLINE floats sum_columns(const global uchar *messages, ulong2 of, size_t i)
{
	floats sum = -0.0f;
	for (ulong ranks = of.y; ranks; ranks >>= 1, messages += of.x)
		if (ranks & 1)
			sum += message_load(messages, i);
	return sum;
}

// The part of x that stays. Where nothing does, x may hold anything, also what is no number.
INLINE floats kept_of(floats x, float2 scale) { return scale.x == 0.0f ? (floats)0.0f : scale.x * x; }

// The i-th LANES columns of x. The messages are added first.
INLINE void add_columns(SUM, size_t i)
{
	store_columns(fma((floats)scale.y, sum_columns(messages, of, i), kept_of(load_columns(x, i), scale)), i, x);
}
