// attention_backward.cl - the gradients of attention over whole sequences. The scores are computed again, they are not
// kept (Dao et al. 2022). Parameter: HEAD_DIM.
#include "sequences.cl"

// The gradients of the queries, and delta = sum(out dout) of each query, which the pass over keys needs. Work-item
// (16 queries, head, sequence).
kernel IN_VECTORS void attention_backward_queries(global float *dqkv, global float *delta, const global float *qkv,
                                                  const global float *out, const global float *dout, const global float *lse,
                                                  evn_sequences seq)
{
	uint block = get_global_id(0) * TOKENS, h = get_global_id(1), n_heads = get_global_size(1);
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
	for (uint j = 0; j < block + TOKENS; j++) {
		float16 p = exp(dot_lanes(q, k + (size_t)j * seq.stride) * seq.scale - top);
		if (j > block)
			p = select(p, (float16)(0.0f), (float16)(j - block) > lane_numbers());
		float16 ds = p * (dot_lanes(d_out, v + (size_t)j * seq.stride) - dots) * seq.scale;
		add_scaled(dq, ds, k + (size_t)j * seq.stride);
	}
	scatter_rows(dqkv + row * seq.stride + h * HEAD_DIM, seq.stride, dq);
}

// The gradients of keys and values, summed over the rank's query heads that use them. Work-item (16 keys, KV head,
// sequence).
kernel IN_VECTORS void attention_backward_keys(global float *dqkv, const global float *delta, const global float *qkv,
                                               const global float *dout, const global float *lse, evn_sequences seq)
{
	uint block = get_global_id(0) * TOKENS, kv = get_global_id(1);
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
			float16 p = exp(dot_lanes(k, q) * seq.scale - lse[of_query]);
			if (i < block + TOKENS)
				p = select(p, (float16)(0.0f), lane_numbers() > (float16)(i - block));
			float16 ds = p * (dot_lanes(v, d_out) - delta[of_query]) * seq.scale;
			add_scaled(dk, ds, q);
			add_scaled(dv, p, d_out);
		}
	scatter_rows(dqkv + at + seq.k_offset, seq.stride, dk);
	scatter_rows(dqkv + at + seq.v_offset, seq.stride, dv);
}
