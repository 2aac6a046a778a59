// sum_norm.cl - a row of the sum over ranks and the norm that follows. Parameters: NORM, those of sum.cl and norm.cl.
#include "sum.cl"
#include NORM

// Computes row t of the sum, and its norm as row t of y.
INLINE void add_norm_row(SUM, NORMED, size_t t, local float *part)
{
	uint stride = row.x;
	for (uint b = get_local_id(0); b < stride / 32; b += NORM_ITEMS) {
		size_t i = t * (stride / 16) + 2 * b;
		add_vector(SUM_ARGS, i);
		add_vector(SUM_ARGS, i + 1);
	}
	norm_row(NORMED_ARGS, t, x + t * stride, part);
}
