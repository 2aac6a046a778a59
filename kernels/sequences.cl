// sequences.cl - functions that attention over whole sequences and its gradients share. The lanes of a vector are 16
// tokens, so the inner loops have no sums across lanes. Parameter: HEAD_DIM.
//
// qkv, dqkv: rows as in sequences.h, already rotated. Query head h uses KV head (first_head + h) / group - first_kv.
// lse, delta (n_tok, n_heads).
#include "common.cl"
#include "head_dims.cl"
#include "sequences.h"

#define TOKENS EVN_SEQUENCE_GRAIN

inline float16 lane_numbers() { return (float16)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15); }

// to[d] = element d of 16 consecutive rows.
inline void gather_rows(float16 to[HEAD_DIM], const global float *rows, size_t stride)
{
	for (uint d = 0; d < HEAD_DIM; d++) {
		float lanes[TOKENS];
		for (uint i = 0; i < TOKENS; i++)
			lanes[i] = rows[i * stride + d];
		to[d] = vload16(0, lanes);
	}
}

inline void scatter_rows(global float *rows, size_t stride, const float16 from[HEAD_DIM])
{
	for (uint d = 0; d < HEAD_DIM; d++) {
		float lanes[TOKENS];
		vstore16(from[d], 0, lanes);
		for (uint i = 0; i < TOKENS; i++)
			rows[i * stride + d] = lanes[i];
	}
}

// 16 values of a column.
inline float16 gather_column(const global float *column, size_t stride)
{
	float lanes[TOKENS];
	for (uint i = 0; i < TOKENS; i++)
		lanes[i] = column[i * stride];
	return vload16(0, lanes);
}

inline void scatter_column(global float *column, size_t stride, float16 from)
{
	float lanes[TOKENS];
	vstore16(from, 0, lanes);
	for (uint i = 0; i < TOKENS; i++)
		column[i * stride] = lanes[i];
}

inline float16 dot_lanes(const float16 a[HEAD_DIM], const global float *b)
{
	float16 sum = 0.0f;
	for (uint d = 0; d < HEAD_DIM; d++)
		sum = fma(a[d], (float16)b[d], sum);
	return sum;
}

inline void add_scaled(float16 to[HEAD_DIM], float16 by, const global float *b)
{
	for (uint d = 0; d < HEAD_DIM; d++)
		to[d] = fma(by, (float16)b[d], to[d]);
}
