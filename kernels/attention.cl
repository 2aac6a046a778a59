// attention.cl - causal attention of many queries over the KV cache.
#include "attend.cl"

// Finds block number `group` among the query blocks of all spans, for one KV head. False if there are fewer. The last
// rows of a span come first, because they have the most keys.
INLINE bool find_block(row_span *s, query_block *b, const global uint *spans, uint group)
{
	for (uint i = 0; i < count_spans(spans); i++) {
		*s = load_span(spans, i);
		uint n_blocks = (b->n_own * s->n_rows + QUERIES - 1) / QUERIES;
		if (group < n_blocks) {
			b->first = (n_blocks - 1 - group) * QUERIES;
			return true;
		}
		group -= n_blocks;
	}
	return false;
}

// out (n_rows, stride), heads from column `offset` on = softmax(scale q K^T) V over the keys of each row's sequence,
// up to its own position. at: stride and offset of out. If there are several splits, the results go to `partial`
// instead, and attention_merge joins them. Work-group (block of queries, KV head, split).
kernel IN_VECTORS __attribute__((reqd_work_group_size(ATTENTION_ITEMS, 1, 1)))
void attention(ATTENTION_PARAMETERS, global float *out, uint2 at, global float *partial, uint appends)
{
	const attention_input a = ATTENTION_INPUT;
	uint split = get_group_id(2), item = get_local_id(0);
	row_span s;
	query_block b = {get_group_id(1), own_begin(&a, get_group_id(1)), 0, 0};
	running state[QUERIES];
	b.n_own = own_end(&a, b.kv) - b.begin;
	if (!find_block(&s, &b, spans, get_group_id(0)) || split >= s.n_splits)
		return;
	attend(state, &a, &s, b, split, item, appends);
#if ATTENTION_ITEMS > 1
	local float tops[ATTENTION_ITEMS], sums[ATTENTION_ITEMS];
	local float16 accs[ATTENTION_ITEMS][HEAD_VECS];
	tops[item] = state[0].top;
	sums[item] = sum16(state[0].sum);
	for (uint i = 0; i < HEAD_VECS; i++)
		accs[item][i] = state[0].acc[i];
	barrier(CLK_LOCAL_MEM_FENCE);
	if (item)
		return;
	// The first item reads its own state back too. PoCL 3.1 keeps one copy for all items of a private array that is
	// written through pointers only and lives across a barrier.
	state[0].top = tops[0];
	state[0].sum = 0.0f;
	state[0].sum.s0 = sums[0];
	for (uint i = 0; i < HEAD_VECS; i++)
		state[0].acc[i] = accs[0][i];
	for (uint o = 1; o < ATTENTION_ITEMS; o++) {
		float16 acc[HEAD_VECS];
		for (uint i = 0; i < HEAD_VECS; i++)
			acc[i] = accs[o][i];
		join(&state[0], tops[o], sums[o], acc);
	}
#endif
	if (get_num_groups(2) == 1)
		store_attended(state, &a, &s, b, out, at.x, at.y);
	else
		store_partial(state, &a, &s, b, split, get_num_groups(2), partial);
}
