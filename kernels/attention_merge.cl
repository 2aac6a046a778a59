// attention_merge.cl - the parts of the keys together.
#include "attend.cl"

// Joins the splits in their order. Work-item (head, token).
kernel IN_VECTORS void attention_merge(global float *out, uint out_stride, uint out_offset, const global float *partial,
                                       uint n_splits)
{
	uint h = get_global_id(0), t = get_global_id(1), n_heads = get_global_size(0), n_tok = get_global_size(1);
	running all;
	all.top = LOWEST;
	all.sum = 0.0f;
	for (uint i = 0; i < HEAD_VECS; i++)
		all.acc[i] = 0.0f;
	for (uint s = 0; s < n_splits; s++) {
		const global float *p = partial + (((size_t)s * n_tok + t) * n_heads + h) * EVN_PARTIAL_ROW(HEAD_PAD);
		float16 acc[HEAD_VECS];
		for (uint i = 0; i < HEAD_VECS; i++)
			acc[i] = vload16(i, p);
		join(&all, p[HEAD_PAD], p[HEAD_PAD + 1], acc);
	}
	float sum = sum16(all.sum);
	for (uint i = 0; i < HEAD_VECS; i++)
		all.acc[i] /= sum;
	store_head(out, t, out_stride, out_offset, h, n_heads, all.acc);
}
