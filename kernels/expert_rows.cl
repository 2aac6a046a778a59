// expert_rows.cl - the rows of activations that experts multiply. A pair is a row and one of its k experts. Few pairs stay in
// their order, and each is multiplied alone. Many pairs are grouped by expert in blocks of EVN_BLOCK_TOKENS rows, so that the
// weights of an expert are read for a block. The last block of an expert may have rows that belong to no pair.
// Parameter: ITEMS, the work-items that share a row.
#include "common.cl"

#ifndef ITEMS
#define ITEMS 1
#endif

INLINE uint blocks_for(uint n) { return (n + EVN_BLOCK_TOKENS - 1) / EVN_BLOCK_TOKENS; }

// counts[e] = the pairs of expert e. Work-item (expert).
kernel void count_pairs(global uint *counts, const global uint *experts, uint n_pairs)
{
	const uint e = get_global_id(0);
	uint n = 0;
	for (uint i = 0; i < n_pairs; i++)
		n += experts[i] == e;
	counts[e] = n;
}

// places[pair] = the pair's row. of_blocks[b] = the expert of block b; EVN_NO_EXPERT behind the last one, up to n_blocks.
// Work-item (expert).
kernel void place_pairs(global uint *places, global uint *of_blocks, uint n_blocks, const global uint *counts,
                        const global uint *experts, uint n_pairs)
{
	const uint e = get_global_id(0);
	uint block = 0;
	for (uint i = 0; i < e; i++)
		block += blocks_for(counts[i]);
	uint row = block * EVN_BLOCK_TOKENS;
	for (uint i = 0; i < n_pairs; i++)
		if (experts[i] == e)
			places[i] = row++;
	const uint end = block + blocks_for(counts[e]);
	for (; block < end; block++)
		of_blocks[block] = e;
	if (e + 1 == get_global_size(0))
		for (; block < n_blocks; block++)
			of_blocks[block] = EVN_NO_EXPERT;
}

// y[places[pair]] = x[pair / k], rows of n words. Work-group (pair).
kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1)))
void gather_rows(global uint *y, const global uint *x, uint n, const global uint *places, uint k)
{
	const size_t pair = get_group_id(0);
	global uint *to = y + (size_t)places[pair] * n;
	const global uint *from = x + pair / k * n;
	for (uint i = get_local_id(0); i < n; i += ITEMS)
		to[i] = from[i];
}

// y[row] columns [at.y, ..) += bias[expert of the row], from entry of.y on. at: y's stride and offset. of: the stride and offset
// of bias. experts: of each row, or of each `shared` rows. Work-item (LANES columns, row).
kernel IN_VECTORS void add_expert_bias(global float *y, uint2 at, const global float *bias, uint2 of, const global uint *experts,
                                       uint shared)
{
	const size_t column = get_global_id(0), row = get_global_id(1);
	const uint expert = experts[row / shared];
	if (expert == EVN_NO_EXPERT)
		return;
	global float *to = y + row * at.x + at.y;
	store_columns(load_columns(to, column) + load_columns(bias + (size_t)expert * of.x + of.y, column), column, to);
}

// y[row] = the sum over its pairs of weight times x[place], in the order of the choice, with weights that are divided by their
// sum if `normed`, times `whole`. Each expert's x is multiplied by its scale if `scaled`. Work-item (LANES columns, row).
kernel IN_VECTORS void add_experts(global float *y, uint stride, const global float *x, const global uint *places,
                                   const global float *weights, const global uint *experts, const global float *scales, uint2 of,
                                   uint scaled, float whole)
{
	const uint k = of.x, normed = of.y;
	const size_t column = get_global_id(0), row = get_global_id(1);
	floats sum = 0.0f;
	float all = 0.0f;
	for (uint i = 0; i < k; i++) {
		const float weight = weights[row * k + i];
		const float factor = scaled ? weight * scales[experts[row * k + i]] : weight;
		sum = fma((floats)factor, load_columns(x + (size_t)places[row * k + i] * stride, column), sum);
		all += weight;
	}
	store_columns((normed ? sum / all : sum) * whole, column, y + row * stride);
}

// y[row] = x[row] times the logistic function of the row's score, added to y[row] if of.y is not 0. of.x: from one score to the
// next; 0: all of x[row] is added. Work-item (LANES columns, row).
kernel IN_VECTORS void add_shared(global float *y, uint stride, const global float *x, const global float *scores, uint2 of)
{
	const size_t column = get_global_id(0), row = get_global_id(1);
	global float *to = y + row * stride;
	const float share = of.x ? 1.0f / (1.0f + exp(-scores[row * of.x])) : 1.0f;
	const floats added = load_columns(x + row * stride, column);
	store_columns(of.y ? fma((floats)share, added, load_columns(to, column)) : share * added, column, to);
}
