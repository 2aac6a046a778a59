// sum.cl - what adds the ranks' partial results. Parameter: MESSAGE.
#include "common.cl"
#include MESSAGE

// As many partials as a group has ranks at most; the kernels read the first n.
#define PARTIALS                                                                                                         \
	const global uchar *p0, const global uchar *p1, const global uchar *p2, const global uchar *p3, const global uchar *p4, \
		const global uchar *p5, const global uchar *p6, const global uchar *p7
#define PARTIALS_LIST {p0, p1, p2, p3, p4, p5, p6, p7}

// Vector i of x += p[0] + p[1] + ... in this order, the sum being made first.
INLINE void add_vector(global float *x, size_t i, const global uchar *const *p, uint n)
{
	float16 sum = message_load(p[0], i);
	for (uint k = 1; k < n; k++)
		sum += message_load(p[k], i);
	vstore16(vload16(i, x) + sum, i, x);
}
