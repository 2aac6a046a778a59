/* simulate_ranks.c - the devices of a set as ranks of a split, what an all-reduce between them costs, and how long a
 * step takes. */
#include "plan/simulate.h"

#include <math.h>
#include <stdlib.h>

uint32_t evn_sim_node_devices(const evn_sim_input *in, const evn_sim_set *set, uint32_t kind)
{
	uint32_t n = 0;
	for (uint32_t j = 0; j < in->cluster->nodes[kind].n_devices; j++)
		n += set->devices[kind][j];
	return n;
}

uint64_t evn_sim_devices(const evn_sim_input *in, const evn_sim_set *set)
{
	uint64_t n = 0;
	for (uint32_t k = 0; k < in->cluster->n_nodes; k++)
		n += (uint64_t)set->nodes[k] * evn_sim_node_devices(in, set, k);
	return n;
}

uint32_t evn_sim_nodes(const evn_sim_input *in, const evn_sim_set *set)
{
	uint32_t n = 0;
	for (uint32_t k = 0; k < in->cluster->n_nodes; k++)
		n += evn_sim_node_devices(in, set, k) ? set->nodes[k] : 0;
	return n;
}

/* ---- all-reduces ----------------------------------------------------------------------------------------------- */

/* Every device's message goes to all others. */
static double inside_us(const evn_sim_node *node, uint32_t n_devices, double bytes)
{
	if (n_devices < 2)
		return 0;
	return node->reduce_us + (node->reduce_gbs > 0 ? (n_devices - 1) * bytes / (node->reduce_gbs * 1e3) : 0);
}

/* As evn_nodes_exchange does it: a node sends the message of each of its ranks to every other node. */
static double exchange_us(const evn_sim_input *in, const evn_sim_set *set, uint32_t kind, double bytes)
{
	const double own = evn_sim_node_devices(in, set, kind);
	double latency = 0, n_messages = 0, further = 0, sent_us = 0, received_us = 0;
	for (uint32_t k = 0; k < in->cluster->n_nodes; k++) {
		const evn_sim_link *link = &in->cluster->links[kind][k];
		const double others = (double)set->nodes[k] - (k == kind), each = evn_sim_node_devices(in, set, k);
		if (others <= 0 || each <= 0)
			continue;
		latency = fmax(latency, link->latency_us);
		further += others * (own + each) * link->message_us;
		n_messages += others * (own + each);
		sent_us += others * own * bytes / (link->gbit_s * 125);
		received_us += others * each * bytes / (link->gbit_s * 125);
	}
	if (n_messages > 0)
		further *= 1 - 2 / n_messages; /* the latency is that of one message in each direction */
	return latency + further + fmax(sent_us, received_us);
}

evn_reduce_cost evn_sim_reduce_cost(const evn_sim_input *in, const evn_sim_set *set)
{
	double inside[EVN_PHASES] = {0}, between[EVN_PHASES] = {0};
	const double bytes[EVN_PHASES] = {[EVN_DECODE] = in->row_bytes, [EVN_PROMPT] = in->prompt_bytes};
	for (uint32_t k = 0; k < in->cluster->n_nodes; k++) {
		const uint32_t n = set->nodes[k] ? evn_sim_node_devices(in, set, k) : 0;
		for (evn_phase p = 0; n && p < EVN_PHASES; p++) {
			inside[p] = fmax(inside[p], inside_us(&in->cluster->nodes[k], n, bytes[p]));
			between[p] = fmax(between[p], exchange_us(in, set, k, bytes[p]));
		}
	}
	return (evn_reduce_cost){.token_us = inside[EVN_DECODE] + between[EVN_DECODE],
							 .prompt_us = inside[EVN_PROMPT] + between[EVN_PROMPT]};
}

/* ---- ranks ----------------------------------------------------------------------------------------------------- */

static evn_plan_candidate rank_of(const evn_sim_input *in, const evn_sim_device *d)
{
	return (evn_plan_candidate){.rates = {.gemv_gbs = d->gbs,
										  .vocab_gbs = d->gbs,
										  .gemm_gflops = d->gflops,
										  .block_us = d->block_us,
										  .block_row_us = d->row_us,
										  .key_ns = in->key_flops / d->gflops,
										  .prompt_key_ns = in->key_flops / d->gflops},
								.memory_bytes = d->memory_bytes,
								.chip = -1};
}

typedef struct {
	double *shares, *prompt_shares;
	uint64_t *memory;
} rank_numbers;

static void list_ranks(evn_plan_candidate *ranks, rank_numbers *n, const evn_sim_input *in, const evn_sim_set *set,
					   bool any_memory)
{
	uint32_t r = 0;
	for (uint32_t k = 0; k < in->cluster->n_nodes; k++)
		for (uint32_t i = 0; i < set->nodes[k]; i++)
			for (uint32_t j = 0; j < in->cluster->nodes[k].n_devices; j++)
				for (uint32_t d = 0; d < set->devices[k][j]; d++, r++) {
					ranks[r] = rank_of(in, &in->cluster->nodes[k].devices[j]);
					n->shares[r] = ranks[r].rates.gemv_gbs;
					n->prompt_shares[r] = ranks[r].rates.gemm_gflops;
					n->memory[r] = any_memory ? UINT64_MAX : ranks[r].memory_bytes;
				}
}

static bool all_work(const evn_split *s)
{
	const uint64_t fixed = evn_plan_fixed_bytes(&s->shape, s->n_ranks);
	for (uint32_t r = 0; r < s->n_ranks; r++)
		if (evn_split_bytes(s, r) <= fixed)
			return false;
	return true;
}

evn_status evn_sim_split(evn_sim_ranks *out, const evn_sim_input *in, const evn_plan_shape *shape,
						 const evn_sim_set *set, bool any_memory, evn_error *err)
{
	const uint64_t n = evn_sim_devices(in, set);
	*out = (evn_sim_ranks){.cost = evn_sim_reduce_cost(in, set)};
	if (n < 1 || n > EVN_PLAN_MAX_RANKS)
		return evn_fail(err, EVN_ERR_LIMIT, "%llu devices share every matrix: expected 1 to %u",
						(unsigned long long)n, EVN_PLAN_MAX_RANKS);
	double *numbers = calloc(2 * n, sizeof *numbers);
	rank_numbers lists = {numbers, numbers + n, calloc(n, sizeof *lists.memory)};
	out->ranks = calloc(n, sizeof *out->ranks);
	evn_status s = EVN_OK;
	if (!numbers || !lists.memory || !out->ranks)
		s = evn_fail_memory(err, "simulated devices", n * sizeof *out->ranks);
	if (s == EVN_OK) {
		list_ranks(out->ranks, &lists, in, set, any_memory);
		s = evn_split_make(&out->split, shape, (uint32_t)n, lists.shares, lists.prompt_shares, lists.memory, err);
	}
	if (s == EVN_OK && !all_work(&out->split))
		s = evn_fail(err, EVN_ERR_LIMIT, "%llu devices: one would have no part of the model", (unsigned long long)n);
	free(numbers);
	free(lists.memory);
	if (s != EVN_OK)
		evn_sim_ranks_free(out);
	return s;
}

void evn_sim_ranks_free(evn_sim_ranks *r)
{
	evn_split_free(&r->split);
	free(r->ranks);
	*r = (evn_sim_ranks){0};
}

/* ---- steps ----------------------------------------------------------------------------------------------------- */

/* Rows read the vocabulary once, unless its arithmetic takes longer. */
static double vocab_s(const evn_sim_ranks *r, uint32_t n_rows)
{
	const evn_plan_class *cut = &r->split.shape.classes[EVN_PLAN_VOCAB];
	double slowest = evn_predict_vocab_s(&r->split, r->ranks);
	for (uint32_t i = 0; i < r->split.n_ranks && n_rows > 1; i++) {
		const evn_range rows = evn_split_part(&r->split, EVN_PLAN_VOCAB, 0, i)->used[EVN_DECODE];
		const double macs = (double)n_rows * evn_range_len(rows) * cut->unit_macs;
		slowest = fmax(slowest, 2 * macs / (r->ranks[i].rates.gemm_gflops * 1e9));
	}
	return slowest;
}

double evn_sim_step_s(const evn_sim_ranks *r, uint32_t n_rows)
{
	const evn_plan_step step = {EVN_DECODE, n_rows, EVN_PLAN_POSITION};
	return vocab_s(r, n_rows) + evn_predict_blocks_s(&r->split, r->ranks, step, r->cost);
}

double evn_sim_prompt_s(const evn_sim_ranks *r)
{
	const evn_plan_step step = {EVN_PROMPT, EVN_PLAN_PROMPT, 0};
	return vocab_s(r, 1) + evn_predict_blocks_s(&r->split, r->ranks, step, r->cost);
}
