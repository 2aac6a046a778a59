// latent.cl - attention whose heads share one latent vector (MLA, DeepSeek-AI 2024), without ever making keys and values of heads:
// k_b is multiplied with the queries, and v_b with what attention gives. The cache has one head: rotated entries, then the latent
// vector. sizes: of the rotated entries, the latent vector, the plain entries of a query, and a head's values. `at` of a matrix:
// from one row to the next, and its first column. Work-items (column, row).
#include "common.cl"

// The RMS norm's factor of n entries.
INLINE float rms_factor(const global float *x, uint n, float eps)
{
	float squares = 0.0f;
	for (uint i = 0; i < n; i++)
		squares = fma(x[i], x[i], squares);
	return 1.0f / sqrt(squares / (float)n + eps);
}

// y[row] (stride) = the RMS norm of n entries of x[row], and zeros.
kernel void norm_latent(global float *y, uint stride, const global float *x, uint2 x_at, uint n, const global float *w, float eps)
{
	const size_t i = get_global_id(0), row = get_global_id(1);
	const global float *from = x + row * x_at.x + x_at.y;
	y[row * stride + i] = i < n ? from[i] * rms_factor(from, n, eps) * w[i] : 0.0f;
}

// y[row] = the queries of n_heads and behind them the key, as attention reads them. q: heads of plain, then rotated entries. kv: the
// latent vector before its norm, by w, then the rotated entries. k_b (heads, latent, plain), from head heads.y on.
kernel void latent_rows(global float *y, uint stride, uint2 heads, const global float *q, uint2 q_at, const global float *kv,
                        uint2 kv_at, uint4 sizes, const global float *k_b, const global float *w, float eps)
{
	const size_t at = get_global_id(0), row = get_global_id(1);
	const uint rotated = sizes.x, latent = sizes.y, plain = sizes.z;
	const uint head = at / (rotated + latent), i = at % (rotated + latent);
	const global float *from = kv + row * kv_at.x + kv_at.y, *of = q + row * q_at.x + q_at.y + head * (plain + rotated);
	float value = 0.0f;
	if (head == heads.x) {
		value = i < rotated ? from[latent + i] : from[i - rotated] * rms_factor(from, latent, eps) * w[i - rotated];
	} else if (i < rotated) {
		value = of[plain + i];
	} else {
		const global float *b = k_b + ((size_t)(heads.y + head) * latent + i - rotated) * plain;
		for (uint k = 0; k < plain; k++)
			value = fma(b[k], of[k], value);
	}
	y[row * stride + at] = value;
}

// y[row] columns from y_at.y on = the values of heads.x heads: v_b (heads, value, latent), from head heads.y on, times the latent
// entries of each head of x. The other columns become zeros.
kernel void latent_values(global float *y, uint2 y_at, uint2 heads, const global float *x, uint x_stride, uint4 sizes,
                          const global float *v_b)
{
	const size_t column = get_global_id(0), row = get_global_id(1);
	const uint rotated = sizes.x, latent = sizes.y, n = sizes.w;
	float value = 0.0f;
	if (column >= y_at.y && column < y_at.y + heads.x * n) {
		const uint i = column - y_at.y;
		const global float *b = v_b + ((size_t)heads.y * n + i) * latent;
		const global float *from = x + row * x_stride + i / n * (rotated + latent) + rotated;
		for (uint k = 0; k < latent; k++)
			value = fma(b[k], from[k], value);
	}
	y[row * y_at.x + column] = value;
}
