// norm_rms.cl - RMSNorm: x / rms(x) * w, rms over the dim true columns (Zhang & Sennrich 2019).
#include "norm.cl"

// Row t of y = the norm of row x of `stride` columns. The columns of x from dim on are zeros.
INLINE void norm_row(NORMED, size_t t, const global float *x, local float4 *part)
{
	uint stride = row.x, dim = row.y;
	floats squares = 0.0f;
#if LANES == 16
	for (uint b = 0; b < stride / 32; b++) {
		float16 lo = vload16(2 * b, x), hi = vload16(2 * b + 1, x);
		squares = fma(lo, lo, fma(hi, hi, squares));
	}
	float scale = 1.0f / sqrt(sum16(squares) / (float)dim + eps);
	for (uint b = 0; b < stride / 32; b++)
		store_block(y, t, stride, b, vload16(2 * b, x) * scale * vload16(2 * b, w),
		            vload16(2 * b + 1, x) * scale * vload16(2 * b + 1, w));
#else
	for (uint i = get_local_id(0); i < stride; i += NORM_ITEMS)
		squares = fma(x[i], x[i], squares);
	float scale = 1.0f / sqrt(sum_items(squares, NORM_ITEMS, (local float *)part) / (float)dim + eps);
	for (uint first = 0; first < stride; first += NORM_ITEMS) { // every item stores equally often
		uint i = first + get_local_id(0);
		store_lane(y, t, stride, i, i < stride ? x[i] * scale * w[i] : 0.0f, part);
	}
#endif
}
