// sum.cl - what adds the ranks' partial sums. Parameter: MESSAGE.
#include "common.cl"
#include MESSAGE

// x += scale times the sum of the messages of `ranks` (a bit for each). All lie in one buffer, rank r's r * apart bytes
// from its beginning.
#define SUM global float *x, const global uchar *messages, ulong apart, ulong ranks, float scale
#define SUM_ARGS x, messages, apart, ranks, scale

// The i-th sixteen columns of x. The messages are added first, in rank order; -0 is the number that adds nothing, to 0
// neither.
INLINE void add_vector(SUM, size_t i)
{
	float16 sum = -0.0f;
	for (; ranks; ranks >>= 1, messages += apart)
		if (ranks & 1)
			sum += message_load(messages, i);
	vstore16(fma((float16)scale, sum, vload16(i, x)), i, x);
}
