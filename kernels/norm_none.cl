// norm_none.cl - no norm, for networks whose products read the residual itself.
#include "norm.cl"

// Row t of y = row x of `stride` columns.
INLINE void norm_row(NORMED, size_t t, const global float *x, local float *part)
{
	uint stride = row.x;
	for (uint b = get_local_id(0); b < stride / 32; b += NORM_ITEMS)
		store_block(y, t, stride, b, vload16(2 * b, x), vload16(2 * b + 1, x));
}
