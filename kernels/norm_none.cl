// norm_none.cl - no norm, for networks whose products read the residual itself.
#include "norm.cl"

// Row t of y = row x of `stride` columns.
INLINE void norm_row(NORMED, size_t t, const global float *x, local float4 *part)
{
	uint stride = row.x;
#if LANES == 16
	for (uint b = 0; b < stride / 32; b++)
		store_block(y, t, stride, b, vload16(2 * b, x), vload16(2 * b + 1, x));
#else
	for (uint first = 0; first < stride; first += NORM_ITEMS) { // every item stores equally often
		uint i = first + get_local_id(0);
		store_lane(y, t, stride, i, i < stride ? x[i] : 0.0f, part);
	}
#endif
}
