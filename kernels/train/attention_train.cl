// attention_train.cl - causal attention over whole sequences, forward and backward, keys and values where the stacked
// projection left them. Lanes of a vector are 16 tokens: the inner loops have no sums across lanes. Scores are computed
// again in the backward pass instead of being kept (Dao et al. 2022). Parameter: HEAD_DIM.
//
// qkv, dqkv (n_tok, stride): query heads at column 0, key heads at k_offset, value heads at v_offset, HEAD_DIM apart,
// already rotated. n_tok is whole sequences of n_ctx tokens, a multiple of 16. Query head h uses KV head
// (first_head + h) / group - first_kv. lse, delta (n_tok, n_heads).
#include "common.cl"
#include "head_dims.cl"

#define LANES 16
#define CHUNK 16 // keys between two moves of the running maximum

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

// 16 numbers of a column.
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

// out (n_tok, out_stride) from column out_offset on: heads HEAD_DIM apart. Work-item (16 queries, head, sequence).
kernel IN_VECTORS void attention_forward(global float *out, uint out_stride, uint out_offset, global float *lse,
                                         const global float *qkv, uint stride, uint k_offset, uint v_offset, uint n_ctx,
                                         uint first_head, uint first_kv, uint group, float scale)
{
	uint block = get_global_id(0) * LANES, h = get_global_id(1), n_heads = get_global_size(1);
	size_t sequence = (size_t)get_global_id(2) * n_ctx, row = sequence + block;
	uint kv = (first_head + h) / group - first_kv;
	const global float *k = qkv + sequence * stride + k_offset + kv * HEAD_DIM;
	const global float *v = qkv + sequence * stride + v_offset + kv * HEAD_DIM;
	float16 q[HEAD_DIM], acc[HEAD_DIM], scores[CHUNK];
	gather_rows(q, qkv + row * stride + h * HEAD_DIM, stride);
	for (uint d = 0; d < HEAD_DIM; d++)
		acc[d] = 0.0f;
	float16 top = -INFINITY, sum = 0.0f;
	for (uint base = 0; base <= block; base += CHUNK) {
		float16 chunk_top = top;
		for (uint j = 0; j < CHUNK; j++) {
			float16 s = dot_lanes(q, k + (size_t)(base + j) * stride) * scale;
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
			add_scaled(acc, p, v + (size_t)(base + j) * stride);
		}
	}
	for (uint d = 0; d < HEAD_DIM; d++)
		acc[d] /= sum;
	scatter_rows(out + row * out_stride + out_offset + h * HEAD_DIM, out_stride, acc);
	scatter_column(lse + row * n_heads + h, n_heads, top + log(sum));
}

// Gradients of the queries, and delta = sum(out dout) of each query for the keys' pass.
// Work-item (16 queries, head, sequence).
kernel IN_VECTORS void attention_backward_queries(global float *dqkv, global float *delta, const global float *qkv, uint stride,
                                                  uint k_offset, uint v_offset, const global float *out,
                                                  const global float *dout, uint out_stride, uint out_offset,
                                                  const global float *lse, uint n_ctx, uint first_head, uint first_kv,
                                                  uint group, float scale)
{
	uint block = get_global_id(0) * LANES, h = get_global_id(1), n_heads = get_global_size(1);
	size_t sequence = (size_t)get_global_id(2) * n_ctx, row = sequence + block;
	uint kv = (first_head + h) / group - first_kv;
	const global float *k = qkv + sequence * stride + k_offset + kv * HEAD_DIM;
	const global float *v = qkv + sequence * stride + v_offset + kv * HEAD_DIM;
	size_t at = row * out_stride + out_offset + h * HEAD_DIM;
	float16 q[HEAD_DIM], d_out[HEAD_DIM], dq[HEAD_DIM];
	float16 dots = 0.0f, top = gather_column(lse + row * n_heads + h, n_heads);
	gather_rows(q, out + at, out_stride);
	gather_rows(d_out, dout + at, out_stride);
	for (uint d = 0; d < HEAD_DIM; d++) {
		dots = fma(q[d], d_out[d], dots);
		dq[d] = 0.0f;
	}
	scatter_column(delta + row * n_heads + h, n_heads, dots);
	gather_rows(q, qkv + row * stride + h * HEAD_DIM, stride);
	for (uint j = 0; j < block + LANES; j++) {
		float16 p = exp(dot_lanes(q, k + (size_t)j * stride) * scale - top);
		if (j > block)
			p = select(p, (float16)(0.0f), (float16)(j - block) > lane_numbers());
		float16 ds = p * (dot_lanes(d_out, v + (size_t)j * stride) - dots) * scale;
		add_scaled(dq, ds, k + (size_t)j * stride);
	}
	scatter_rows(dqkv + row * stride + h * HEAD_DIM, stride, dq);
}

// Gradients of keys and values, over the rank's query heads that use them. Work-item (16 keys, KV head, sequence).
kernel IN_VECTORS void attention_backward_keys(global float *dqkv, const global float *delta, const global float *qkv, uint stride,
                                               uint k_offset, uint v_offset, const global float *dout, uint out_stride,
                                               uint out_offset, const global float *lse, uint n_ctx, uint n_heads,
                                               uint first_head, uint first_kv, uint group, float scale)
{
	uint block = get_global_id(0) * LANES, kv = get_global_id(1);
	size_t sequence = (size_t)get_global_id(2) * n_ctx, row = sequence + block;
	uint begin = (first_kv + kv) * group, end = begin + group; // heads that use this KV head, then those held here
	begin = max(begin, first_head) - first_head;
	end = min(end, first_head + n_heads) - first_head;
	float16 k[HEAD_DIM], v[HEAD_DIM], dk[HEAD_DIM], dv[HEAD_DIM];
	size_t at = row * stride + kv * HEAD_DIM;
	gather_rows(k, qkv + at + k_offset, stride);
	gather_rows(v, qkv + at + v_offset, stride);
	for (uint d = 0; d < HEAD_DIM; d++)
		dk[d] = dv[d] = 0.0f;
	for (uint h = begin; h < end; h++)
		for (uint i = block; i < n_ctx; i++) {
			const global float *q = qkv + (sequence + i) * stride + h * HEAD_DIM;
			const global float *d_out = dout + (sequence + i) * out_stride + out_offset + h * HEAD_DIM;
			size_t of_query = (sequence + i) * n_heads + h;
			float16 p = exp(dot_lanes(k, q) * scale - lse[of_query]);
			if (i < block + LANES)
				p = select(p, (float16)(0.0f), lane_numbers() > (float16)(i - block));
			float16 ds = p * (dot_lanes(v, d_out) - delta[of_query]) * scale;
			add_scaled(dk, ds, q);
			add_scaled(dv, p, d_out);
		}
	scatter_rows(dqkv + at + k_offset, stride, dk);
	scatter_rows(dqkv + at + v_offset, stride, dv);
}
