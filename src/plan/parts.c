/* parts.c - reads a split: the parts of a block, the groups that belong to them, and their bytes. */
#include "plan/plan.h"

uint32_t evn_plan_find(const evn_plan_shape *s, evn_cut_kind kind)
{
	uint32_t k = 0;
	while (k < s->n_classes && s->classes[k].kind != kind)
		k++;
	return k;
}

uint32_t evn_plan_n_blocks(const evn_plan_shape *s)
{
	uint32_t n = 0;
	for (uint32_t k = EVN_PLAN_VOCAB + 1; k < s->n_classes; k++)
		n += s->classes[k].n_blocks;
	return n;
}

uint32_t evn_plan_n_reduces(const evn_plan_shape *s)
{
	uint32_t n = evn_plan_n_blocks(s);
	for (uint32_t k = EVN_PLAN_VOCAB + 1; k < s->n_classes; k++)
		n -= s->classes[k].joins ? s->classes[k].n_blocks : 0;
	return n;
}

evn_range evn_plan_groups(const evn_plan_class *cut, evn_range units)
{
	uint32_t begin = units.begin / cut->group;
	if (units.begin == units.end)
		return (evn_range){begin, begin};
	return (evn_range){begin, (units.end - 1) / cut->group + 1};
}

const evn_part *evn_split_part(const evn_split *split, uint32_t k, uint32_t block, uint32_t rank)
{
	static const evn_part none;
	return k < split->shape.n_classes ? &split->parts[k][(size_t)block * split->n_ranks + rank] : &none;
}

uint64_t evn_split_ranks(const evn_split *split, uint32_t k, uint32_t block, evn_phase phase)
{
	uint64_t mask = 0;
	for (uint32_t r = 0; r < split->n_ranks; r++)
		mask |= (uint64_t)(evn_range_len(evn_split_part(split, k, block, r)->used[phase]) > 0) << r;
	return mask;
}

uint64_t evn_split_workers(const evn_split *split)
{
	uint64_t mask = 0;
	for (uint32_t k = 0; k < split->shape.n_classes; k++)
		for (uint32_t i = 0; i < split->shape.classes[k].n_blocks; i++)
			for (evn_phase p = 0; p < EVN_PHASES; p++)
				mask |= evn_split_ranks(split, k, i, p);
	return mask;
}

/* Adds n * bytes. The sum is at most UINT64_MAX. */
static void add_bytes(uint64_t *sum, uint64_t n, uint64_t bytes)
{
	uint64_t product;
	if (!evn_mul_u64(n, bytes, &product) || !evn_add_u64(*sum, product, sum))
		*sum = UINT64_MAX;
}

uint64_t evn_plan_fixed_bytes(const evn_plan_shape *s, uint32_t n_ranks)
{
	uint64_t sum = s->fixed_bytes;
	add_bytes(&sum, n_ranks, s->peer_bytes);
	return sum;
}

static void add_units(uint64_t *sum, const evn_plan_class *cut, uint64_t n_units, uint64_t n_groups)
{
	add_bytes(sum, n_units, cut->unit_bytes);
	add_bytes(sum, n_groups, cut->group_bytes);
	add_bytes(sum, n_groups, cut->cache_bytes);
}

uint64_t evn_split_bytes(const evn_split *split, uint32_t rank)
{
	uint64_t sum = evn_plan_fixed_bytes(&split->shape, split->n_ranks);
	for (uint32_t k = 0; k < split->shape.n_classes; k++) {
		const evn_plan_class *cut = &split->shape.classes[k];
		uint64_t n_units = 0, n_groups = 0;
		for (uint32_t i = 0; i < cut->n_blocks; i++) {
			const evn_range held = evn_split_part(split, k, i, rank)->held;
			n_units += evn_range_len(held);
			n_groups += evn_range_len(evn_plan_groups(cut, held));
		}
		add_units(&sum, cut, n_units, n_groups);
	}
	return sum;
}

uint64_t evn_plan_bytes(const evn_plan_shape *s)
{
	uint64_t sum = 0;
	for (uint32_t k = 0; k < s->n_classes; k++) {
		const evn_plan_class *cut = &s->classes[k];
		const uint64_t n = cut->n_blocks;
		add_units(&sum, cut, n * cut->n, n * (cut->n / cut->group));
	}
	return sum;
}
