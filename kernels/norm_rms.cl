// norm_rms.cl - RMSNorm: x / rms(x) * w, rms over the dim true columns (Zhang & Sennrich 2019).
#include "norm.cl"

// Row t of y = the norm of row x of `stride` columns. The columns of x from dim on are zeros.
INLINE void norm_row(NORMED, size_t t, const global float *x, local float *part)
{
	uint stride = row.x, dim = row.y;
	float16 squares = 0.0f;
	for (uint b = get_local_id(0); b < stride / 32; b += NORM_ITEMS) {
		float16 lo = vload16(2 * b, x), hi = vload16(2 * b + 1, x);
		squares = fma(lo, lo, fma(hi, hi, squares));
	}
	float scale = 1.0f / sqrt(sum_items(sum16(squares), part) / (float)dim + eps);
	for (uint b = get_local_id(0); b < stride / 32; b += NORM_ITEMS)
		store_block(y, t, stride, b, vload16(2 * b, x) * scale * vload16(2 * b, w),
		            vload16(2 * b + 1, x) * scale * vload16(2 * b + 1, w));
}
