// attention_sequences.cl - causal attention over whole sequences, without a cache: keys and values are read from the
// stacked projection. Parameter: HEAD_DIM.
#include "sequences.cl"

#define CHUNK 16 // keys between two updates of the running maximum

// out (n_tok, out_stride): heads from column out_offset on, HEAD_DIM apart. lse: the logarithm of the sum of the
// exponentials of a query's scores, which the gradients need. Work-item (16 queries, head, sequence).
kernel IN_VECTORS void attention_sequences(global float *out, global float *lse, const global float *qkv, evn_sequences seq)
{
	uint block = get_global_id(0) * TOKENS, h = get_global_id(1), n_heads = get_global_size(1);
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
			float16 s = dot_lanes(q, k + (size_t)(base + j) * seq.stride) * seq.scale;
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
