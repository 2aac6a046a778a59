// attention_merge.cl - joins the parts of the keys (flash-decoding), with scalars.
#include "lanes/store_head.cl"

// Joins the splits in their order. at: stride and offset of out. Work-group (head, row).
kernel __attribute__((reqd_work_group_size(EVN_LANE_ITEMS, 1, 1)))
void attention_merge(global float *out, uint2 at, const global float *partial, uint most_splits, const global uint *spans)
{
	local float4 stored[EVN_LANE_ITEMS / 4];
	local float head[HEAD_PAD];
	const uint h = get_group_id(0), row = get_group_id(1), n_heads = get_num_groups(0);
	const row_span span = span_of_row(spans, row);
	const global float *parts = partial + ((size_t)row * n_heads + h) * most_splits * EVN_PARTIAL_ROW(HEAD_PAD);
	float top = parts[HEAD_PAD], sum = 0.0f;
	for (uint s = 1; s < span.n_splits; s++)
		top = fmax(top, parts[s * EVN_PARTIAL_ROW(HEAD_PAD) + HEAD_PAD]);
	for (uint s = 0; s < span.n_splits; s++) {
		const global float *p = parts + s * EVN_PARTIAL_ROW(HEAD_PAD);
		sum = fma(p[HEAD_PAD + 1], exp(p[HEAD_PAD] - top), sum);
	}
	for (uint d = get_local_id(0); d < HEAD_DIM; d += EVN_LANE_ITEMS) {
		float all = 0.0f;
		for (uint s = 0; s < span.n_splits; s++) {
			const global float *p = parts + s * EVN_PARTIAL_ROW(HEAD_PAD);
			all = fma(p[d], exp(p[HEAD_PAD] - top), all);
		}
		head[d] = all;
	}
	barrier(CLK_LOCAL_MEM_FENCE);
	store_head(out, row, at, h, n_heads, head, sum, stored);
}
