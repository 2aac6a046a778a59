// attention_train.cl - causal attention over whole sequences, forward and backward. Keys and values are read from the
// stacked projection. The lanes of a vector are 16 tokens, so the inner loops have no sums across lanes. The backward
// pass computes the scores again instead of keeping them (Dao et al. 2022). Parameter: HEAD_DIM.
//
// qkv, dqkv (n_tok, stride): query heads at column 0, key heads at k_offset, value heads at v_offset, HEAD_DIM apart,
// already rotated. n_tok is a number of whole sequences of n_ctx tokens, a multiple of 16. Query head h uses KV head
// (first_head + h) / group - first_kv. lse, delta (n_tok, n_heads).
#include "common.cl"
#include "head_dims.cl"
#include "train/arguments.h"

#define LANES 16
#define CHUNK 16 // keys between two updates of the running maximum

inline float16 lane_numbers() { return (float16)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15); }

// to[d] = element d of 16 consecutive rows.
inline void gather_rows(float16 to[HEAD_DIM], const global float *rows, size_t stride)
{
	for (uint d = 0; d < HEAD_DIM; d++) {
		float lanes[LANES];
		for (uint i = 0; i < LANES; i++)
			lanes[i] = rows[i * stride + d];
		to[d] = vload16(0, lanes);
	}
}

inline void scatter_rows(global float *rows, size_t stride, const float16 from[HEAD_DIM])
{
	for (uint d = 0; d < HEAD_DIM; d++) {
		float lanes[LANES];
		vstore16(from[d], 0, lanes);
		for (uint i = 0; i < LANES; i++)
			rows[i * stride + d] = lanes[i];
	}
}

// 16 values of a column.
inline float16 gather_column(const global float *column, size_t stride)
{
	float lanes[LANES];
	for (uint i = 0; i < LANES; i++)
		lanes[i] = column[i * stride];
	return vload16(0, lanes);
}

inline void scatter_column(global float *column, size_t stride, float16 from)
{
	float lanes[LANES];
	vstore16(from, 0, lanes);
	for (uint i = 0; i < LANES; i++)
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

// out (n_tok, out_stride): heads from column out_offset on, HEAD_DIM apart. Work-item (16 queries, head, sequence).
kernel IN_VECTORS void attention_forward(global float *out, global float *lse, const global float *qkv, evn_sequences seq,
                                         float scale)
{
	uint block = get_global_id(0) * LANES, h = get_global_id(1), n_heads = get_global_size(1);
	size_t sequence = (size_t)get_global_id(2) * seq.n_ctx, row = sequence + block;
	uint kv = (seq.first_head + h) / seq.group - seq.first_kv;
	const global float *k = qkv + sequence * seq.stride + seq.k_offset + kv * HEAD_DIM;
	const global float *v = qkv + sequence * seq.stride + seq.v_offset + kv * HEAD_DIM;
	float16 q[HEAD_DIM], acc[HEAD_DIM], scores[CHUNK];
	gather_rows(q, qkv + row * seq.stride + h * HEAD_DIM, seq.stride);
	for (uint d = 0; d < HEAD_DIM; d++)
		acc[d] = 0.0f;
	float16 top = -INFINITY, sum = 0.0f;
	for (uint base = 0; base <= block; base += CHUNK) {
		float16 chunk_top = top;
		for (uint j = 0; j < CHUNK; j++) {
			float16 s = dot_lanes(q, k + (size_t)(base + j) * seq.stride) * scale;
			if (base == block)
				s = select(s, (float16)(-INFINITY), (float16)(j) > lane_numbers());
			scores[j] = s;
			chunk_top = fmax(chunk_top, s);
		}
		float16 keep = exp(top - chunk_top);
		top = chunk_top;
		sum *= keep;
		for (uint d = 0; d < HEAD_DIM; d++)
			acc[d] *= keep;
		for (uint j = 0; j < CHUNK; j++) {
			float16 p = exp(scores[j] - top);
			sum += p;
			add_scaled(acc, p, v + (size_t)(base + j) * seq.stride);
		}
	}
	for (uint d = 0; d < HEAD_DIM; d++)
		acc[d] /= sum;
	scatter_rows(out + row * seq.out_stride + seq.out_offset + h * HEAD_DIM, seq.out_stride, acc);
	scatter_column(lse + row * n_heads + h, n_heads, top + log(sum));
}

// The gradients of the queries, and delta = sum(out dout) of each query, which the pass over keys needs. Work-item
// (16 queries, head, sequence).
kernel IN_VECTORS void attention_backward_queries(global float *dqkv, global float *delta, const global float *qkv,
                                                  const global float *out, const global float *dout, const global float *lse,
                                                  evn_sequences seq, float scale)
{
	uint block = get_global_id(0) * LANES, h = get_global_id(1), n_heads = get_global_size(1);
	size_t sequence = (size_t)get_global_id(2) * seq.n_ctx, row = sequence + block;
	uint kv = (seq.first_head + h) / seq.group - seq.first_kv;
	const global float *k = qkv + sequence * seq.stride + seq.k_offset + kv * HEAD_DIM;
	const global float *v = qkv + sequence * seq.stride + seq.v_offset + kv * HEAD_DIM;
	size_t at = row * seq.out_stride + seq.out_offset + h * HEAD_DIM;
	float16 q[HEAD_DIM], d_out[HEAD_DIM], dq[HEAD_DIM];
	float16 dots = 0.0f, top = gather_column(lse + row * n_heads + h, n_heads);
	gather_rows(q, out + at, seq.out_stride);
	gather_rows(d_out, dout + at, seq.out_stride);
	for (uint d = 0; d < HEAD_DIM; d++) {
		dots = fma(q[d], d_out[d], dots);
		dq[d] = 0.0f;
	}
	scatter_column(delta + row * n_heads + h, n_heads, dots);
	gather_rows(q, qkv + row * seq.stride + h * HEAD_DIM, seq.stride);
	for (uint j = 0; j < block + LANES; j++) {
		float16 p = exp(dot_lanes(q, k + (size_t)j * seq.stride) * scale - top);
		if (j > block)
			p = select(p, (float16)(0.0f), (float16)(j - block) > lane_numbers());
		float16 ds = p * (dot_lanes(d_out, v + (size_t)j * seq.stride) - dots) * scale;
		add_scaled(dq, ds, k + (size_t)j * seq.stride);
	}
	scatter_rows(dqkv + row * seq.stride + h * HEAD_DIM, seq.stride, dq);
}

// The gradients of keys and values, summed over the rank's query heads that use them. Work-item (16 keys, KV head,
// sequence).
kernel IN_VECTORS void attention_backward_keys(global float *dqkv, const global float *delta, const global float *qkv,
                                               const global float *dout, const global float *lse, evn_sequences seq, float scale)
{
	uint block = get_global_id(0) * LANES, kv = get_global_id(1);
	size_t sequence = (size_t)get_global_id(2) * seq.n_ctx, row = sequence + block;
	// the query heads that use this KV head, then those of them on this rank
	uint begin = (seq.first_kv + kv) * seq.group, end = begin + seq.group;
	begin = max(begin, seq.first_head) - seq.first_head;
	end = min(end, seq.first_head + seq.n_heads) - seq.first_head;
	float16 k[HEAD_DIM], v[HEAD_DIM], dk[HEAD_DIM], dv[HEAD_DIM];
	size_t at = row * seq.stride + kv * HEAD_DIM;
	gather_rows(k, qkv + at + seq.k_offset, seq.stride);
	gather_rows(v, qkv + at + seq.v_offset, seq.stride);
	for (uint d = 0; d < HEAD_DIM; d++)
		dk[d] = dv[d] = 0.0f;
	for (uint h = begin; h < end; h++)
		for (uint i = block; i < seq.n_ctx; i++) {
			const global float *q = qkv + (sequence + i) * seq.stride + h * HEAD_DIM;
			const global float *d_out = dout + (sequence + i) * seq.out_stride + seq.out_offset + h * HEAD_DIM;
			size_t of_query = (sequence + i) * seq.n_heads + h;
			float16 p = exp(dot_lanes(k, q) * scale - lse[of_query]);
			if (i < block + LANES)
				p = select(p, (float16)(0.0f), lane_numbers() > (float16)(i - block));
			float16 ds = p * (dot_lanes(v, d_out) - delta[of_query]) * scale;
			add_scaled(dk, ds, q);
			add_scaled(dv, p, d_out);
		}
	scatter_rows(dqkv + at + seq.k_offset, seq.stride, dk);
	scatter_rows(dqkv + at + seq.v_offset, seq.stride, dv);
}
