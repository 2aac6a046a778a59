/* part.h - a rank's part of a block, as the plan has cut it. */
#ifndef EVN_PART_H
#define EVN_PART_H

#include "nn/graph.h"

static inline const evn_layer_split *evn_layer_part(const evn_split *s, const evn_block *b, uint32_t rank)
{
	return &s->layers[(size_t)b->layer * s->n_ranks + rank];
}

static inline evn_range evn_block_held(const evn_split *s, const evn_block *b, uint32_t rank)
{
	const evn_layer_split *l = evn_layer_part(s, b, rank);
	return b->kind == EVN_BLOCK_ATTENTION ? l->heads : evn_ff_held(l);
}

static inline evn_range evn_block_used(const evn_split *s, const evn_block *b, evn_phase phase, uint32_t rank)
{
	const evn_layer_split *l = evn_layer_part(s, b, rank);
	return b->kind == EVN_BLOCK_ATTENTION ? l->heads : l->ff[phase];
}

static inline uint32_t evn_block_ranks(const evn_split *s, const evn_block *b, evn_phase phase)
{
	uint32_t mask = 0;
	for (uint32_t r = 0; r < s->n_ranks; r++)
		mask |= (evn_range_len(evn_block_used(s, b, phase, r)) > 0) * (1u << r);
	return mask;
}

static inline evn_range evn_vocab_held(const evn_split *s, const evn_graph *g, uint32_t rank)
{
	(void)g;
	return s->vocab[rank];
}

#endif
