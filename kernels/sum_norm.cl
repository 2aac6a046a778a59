// sum_norm.cl - a row of the sum over ranks and the norm that follows. Parameters: NORM, those of sum.cl and norm.cl.
#include "sum.cl"
#include NORM

// Computes row t of the sum, and its norm as row t of y.
INLINE void add_norm_row(SUM, NORMED, size_t t, local float4 *part)
{
	uint stride = row.x;
#if LANES == 16
	for (uint b = 0; b < stride / 32; b++) {
		size_t i = t * (stride / 16) + 2 * b;
		add_columns(SUM_ARGS, i);
		add_columns(SUM_ARGS, i + 1);
	}
#else
	for (uint i = get_local_id(0); i < stride; i += NORM_ITEMS)
		add_columns(SUM_ARGS, t * stride + i);
#endif
	norm_row(NORMED_ARGS, t, x + t * stride, part);
}
