// attention.cl - causal attention of many queries over the KV cache.
#include "attend.cl"

// out (n_tok, out_stride) = softmax(q K^T / sqrt(HEAD_DIM)) V over the keys 0 .. position + token. With several splits
// partial takes what attention_merge joins instead. Work-group (block of queries, KV head, split).
kernel IN_VECTORS __attribute__((reqd_work_group_size(ATTENTION_ITEMS, 1, 1)))
void attention(ATTENTION_PARAMETERS, global float *out, uint out_stride, uint out_offset, global float *partial, uint appends)
{
	const attention_input a = ATTENTION_INPUT;
	uint kv = get_group_id(1), split = get_group_id(2), n_splits = get_num_groups(2), item = get_local_id(0);
	uint first = (get_num_groups(0) - 1 - get_group_id(0)) * QUERIES; // the longest rows first
	uint begin = own_begin(kv, first_head, first_kv), n_own = own_end(kv, first_head, first_kv, n_heads) - begin;
	running state[QUERIES];
	if (first >= n_own * n_tok)
		return;
	attend(state, &a, kv, begin, n_own, first, split, n_splits, item, appends);
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
	// The first item's comes from there too: PoCL 3.1 keeps one copy for all items of a private array that is written
	// through pointers alone and lives across a barrier.
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
	if (n_splits == 1)
		store_attended(state, begin, n_own, first, n_tok, n_heads, out, out_stride, out_offset);
	else
		store_partial(state, begin, n_own, first, n_tok, n_heads, split, partial);
}
