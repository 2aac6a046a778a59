// sum.cl - what adds the ranks' partial results, and makes the norm that comes next. Comes after the messages' format
// (kernels/message/), norm.cl and the norm.

#define MAX_RANKS 8

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

// Row t of x += partials, and row t of y = its norm.
INLINE void add_norm_row(global float *y, size_t t, global float *x, const global uchar *const *p, uint n, const global float *w,
                         const global float *bias, uint stride, uint dim, float eps, local float *part)
{
	for (uint b = get_local_id(0); b < stride / 32; b += NORM_ITEMS) {
		size_t i = t * (stride / 16) + 2 * b;
		add_vector(x, i, p, n);
		add_vector(x, i + 1, p, n);
	}
	norm_row(y, t, x + t * stride, w, bias, stride, dim, eps, part);
}
