// attention.cl - causal attention of many queries over the KV cache.
#include "attend.cl"

// out (n_rows, stride), heads from column `offset` on = softmax(scale q K^T) V over the keys of each row's sequence,
// up to its own position. at: stride and offset of out. If there are several splits, the results go to `partial`
// instead, and attention_merge joins them. Work-group (block of queries, KV head, split).
kernel IN_VECTORS __attribute__((reqd_work_group_size(1, 1, 1)))
void attention(ATTENTION_PARAMETERS, global float *out, uint2 at, global float *partial, uint appends)
{
	const attention_input a = ATTENTION_INPUT;
	uint split = get_group_id(2);
	row_span s;
	query_block b = {get_group_id(1), own_begin(&a, get_group_id(1)), 0, 0};
	running state[QUERIES];
	b.n_own = own_end(&a, b.kv) - b.begin;
	if (!find_block(&s, &b, spans, get_group_id(0)) || split >= s.n_splits)
		return;
	attend(state, &a, &s, b, split, appends);
	if (get_num_groups(2) == 1)
		store_attended(state, &a, &s, b, out, at.x, at.y);
	else
		store_partial(state, &a, &s, b, split, get_num_groups(2), partial);
}
