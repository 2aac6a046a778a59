// attention_merge.cl - joins the parts of the keys (flash-decoding).
#include "attend.cl"

// Joins the splits in their order. at: stride and offset of out. Work-item (head, row).
kernel IN_VECTORS void attention_merge(global float *out, uint2 at, const global float *partial, uint most_splits,
                                       const global uint *spans)
{
	uint h = get_global_id(0), row = get_global_id(1), n_heads = get_global_size(0);
	const row_span span = span_of_row(spans, row);
	const global float *p = partial + ((size_t)row * n_heads + h) * most_splits * EVN_PARTIAL_ROW(HEAD_PAD);
	running all;
	all.top = LOWEST;
	all.sum = 0.0f;
	for (uint i = 0; i < HEAD_VECS; i++)
		all.acc[i] = 0.0f;
	for (uint s = 0; s < span.n_splits; s++, p += EVN_PARTIAL_ROW(HEAD_PAD)) {
		float16 acc[HEAD_VECS];
		for (uint i = 0; i < HEAD_VECS; i++)
			acc[i] = vload16(i, p);
		join(&all, p[HEAD_PAD], p[HEAD_PAD + 1], acc);
	}
	float sum = sum16(all.sum);
	for (uint i = 0; i < HEAD_VECS; i++)
		all.acc[i] /= sum;
	store_head(out, row, at.x, at.y, h, n_heads, all.acc);
}
