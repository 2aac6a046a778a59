#include "engine/stages.h"

#include <math.h>
#include <string.h>

#include "engine/device_limits.h"

#define MOST_PIECES 16u       /* of a step */
#define LEAST_PROMPT_ROWS 16u /* of a piece of a prompt */
#define CACHE_SPLITS 16       /* attempts to make every rank's KV cache fit into its buffers */

/* The layers of a model over its nodes. */
typedef struct {
	evn_prepared *p;
	uint32_t n_nodes, n_layers, last; /* last: the node with the head */
	double shares[EVN_MAX_RANKS], prompt_shares[EVN_MAX_RANKS];
	uint64_t memory[EVN_MAX_RANKS];
	double speeds[EVN_MAX_NODES];
	uint32_t layers[EVN_MAX_NODES], most[EVN_MAX_NODES]; /* most: that its memory holds */
	double head;                                         /* what the head is worth in layers */
	evn_error *err;
} staging;

evn_status evn_stages_check(const evn_graph *g, evn_error *err)
{
	const char *why = g->n_encoder || g->encodes ? "it has an encoder"
					  : g->layer_inputs          ? "its layers have inputs by the token"
					  : g->shares_keys           ? "layers have keys and values of others"
					  : g->h->n_layers < 2       ? "it has fewer than two"
												 : NULL;
	return why ? evn_fail(
					 err, EVN_ERR_UNSUPPORTED,
					 "cluster-split: the layers of this model cannot be on different nodes, because %s: expected "
					 "tensor",
					 why)
			   : EVN_OK;
}

uint32_t evn_stage_before(const evn_stages *s, uint32_t node)
{
	for (uint32_t i = node; i > 0; i--)
		if (i == 1 || evn_range_len(s->blocks[i - 1]))
			return i - 1;
	return node;
}

uint32_t evn_stage_after(const evn_stages *s, uint32_t node, uint32_t n_nodes)
{
	for (uint32_t i = node + 1; i < n_nodes; i++)
		if (evn_range_len(s->blocks[i]))
			return i;
	return node;
}

/* ---- how many layers a node gets ------------------------------------------------------------------------------- */

/* The bytes that a row reads of all layers, in proportion to those of the head. */
static double layer_bytes(const evn_plan_shape *s)
{
	double sum = 0;
	for (uint32_t k = EVN_PLAN_VOCAB + 1; k < s->n_classes; k++) {
		const evn_plan_class *c = &s->classes[k];
		const double groups = (double)evn_range_len(evn_plan_groups(c, (evn_range){0, c->n}));
		sum +=
			c->n_blocks * c->read_fraction * ((double)c->n * (double)c->unit_bytes + groups * (double)c->group_bytes);
	}
	return sum;
}

/* Node by node; every layer goes to the node that would be ready first. False if memory is too short. */
static bool share_layers(staging *s)
{
	memset(s->layers, 0, sizeof s->layers);
	s->layers[s->last] = 1; /* the head stands behind a layer */
	for (uint32_t layer = 1; layer < s->n_layers; layer++) {
		double least = INFINITY;
		uint32_t best = s->n_nodes;
		for (uint32_t i = 0; i < s->n_nodes; i++) {
			const double t = (s->layers[i] + 1 + (i == s->last ? s->head : 0)) / s->speeds[i];
			if (s->speeds[i] <= 0 || s->layers[i] >= s->most[i] || t >= least)
				continue;
			least = t;
			best = i;
		}
		if (best == s->n_nodes)
			return false;
		s->layers[best]++;
	}
	return s->most[s->last] > 0;
}

static uint32_t first_block(const evn_graph *g, uint32_t layer)
{
	uint32_t i = 0;
	while (i < g->n_blocks && g->blocks[i].layer < layer)
		i++;
	return i;
}

static void find_blocks(const staging *s)
{
	evn_stages *out = &s->p->stages;
	memset(out->blocks, 0, sizeof out->blocks);
	out->last = s->last;
	for (uint32_t i = 0, layer = 0; i < s->n_nodes; layer += s->layers[i++])
		if (s->layers[i])
			out->blocks[i] =
				(evn_range){first_block(s->p->graph, layer), first_block(s->p->graph, layer + s->layers[i])};
}

/* ---- the ranges of a node's ranks ------------------------------------------------------------------------------ */

/* The shape of a range of blocks, and the first block of each class in it. */
static evn_plan_shape shape_of(const evn_prepared *p, evn_range blocks, bool has_head, uint32_t *first)
{
	evn_plan_shape s = p->shape;
	for (uint32_t k = EVN_PLAN_VOCAB + 1; k < s.n_classes; k++)
		s.classes[k].n_blocks = 0;
	for (uint32_t i = blocks.begin; i < blocks.end; i++) {
		const evn_block *b = &p->graph->blocks[i];
		if (!s.classes[b->cut_class].n_blocks++)
			first[b->cut_class] = b->cut_index;
	}
	if (!has_head) {
		s.classes[EVN_PLAN_VOCAB].unit_bytes = 0;
		s.classes[EVN_PLAN_VOCAB].unit_macs = 0;
	}
	first[EVN_PLAN_VOCAB] = 0;
	return s;
}

/* The node's ranks share the blocks; the others have nothing of them. */
static evn_status split_node(const staging *s, uint32_t node, evn_split *of_all)
{
	evn_prepared *p = s->p;
	uint32_t first[EVN_PLAN_CLASSES] = {0};
	double shares[EVN_MAX_RANKS] = {0}, prompt_shares[EVN_MAX_RANKS] = {0};
	const evn_plan_shape shape = shape_of(p, p->stages.blocks[node], node == s->last, first);
	evn_split part;
	for (uint32_t r = p->nodes.first[node]; r < p->nodes.first[node + 1]; r++) {
		shares[r] = s->shares[r];
		prompt_shares[r] = s->prompt_shares[r];
	}
	EVN_TRY(evn_split_make(&part, &shape, p->n, shares, prompt_shares, s->memory, s->err));
	for (uint32_t k = node == s->last ? EVN_PLAN_VOCAB : EVN_PLAN_VOCAB + 1; k < shape.n_classes; k++)
		if (shape.classes[k].n_blocks)
			memcpy(of_all->parts[k] + (size_t)first[k] * p->n, part.parts[k],
				   (size_t)shape.classes[k].n_blocks * p->n * sizeof *part.parts[k]);
	of_all->one_layout |= part.one_layout;
	evn_split_free(&part);
	return EVN_OK;
}

/* *too_many: a node that cannot hold its layers, if the error is EVN_ERR_LIMIT. */
static evn_status split_all(const staging *s, uint32_t *too_many)
{
	evn_prepared *p = s->p;
	evn_split_free(&p->split);
	find_blocks(s);
	EVN_TRY(evn_split_make_empty(&p->split, &p->shape, p->n, s->err));
	evn_status status = EVN_OK;
	for (uint32_t i = 0; i < s->n_nodes && status == EVN_OK; i++) {
		*too_many = i;
		if (evn_range_len(p->stages.blocks[i]))
			status = split_node(s, i, &p->split);
	}
	return status;
}

/* Gives the layers that a node cannot hold to others. */
static evn_status fit_memory(staging *s)
{
	evn_status status = EVN_OK;
	do {
		uint32_t node = 0;
		if (!share_layers(s))
			return status != EVN_OK ? status : evn_fail(s->err, EVN_ERR_LIMIT, "no node has a share of the layers");
		status = split_all(s, &node);
		if (status == EVN_ERR_LIMIT)
			s->most[node] = s->layers[node] - 1;
	} while (status == EVN_ERR_LIMIT);
	return status;
}

static evn_status begin(staging *s)
{
	evn_prepared *p = s->p;
	EVN_TRY(evn_plan_shares(s->shares, s->prompt_shares, p->ranks, p->n, s->err));
	evn_plan_memory(s->memory, &p->shape, p->ranks, s->shares, p->n);
	s->n_nodes = evn_nodes_count(p->nodes.nodes);
	s->n_layers = p->graph->h->n_layers;
	for (uint32_t i = 0; i < s->n_nodes; i++) {
		s->most[i] = s->n_layers;
		for (uint32_t r = p->nodes.first[i]; r < p->nodes.first[i + 1]; r++)
			s->speeds[i] += s->shares[r];
		s->last = s->speeds[i] > 0 ? i : s->last;
	}
	const evn_plan_class *vocab = &p->shape.classes[EVN_PLAN_VOCAB];
	s->head = (double)vocab->n * (double)vocab->unit_bytes * s->n_layers / fmax(layer_bytes(&p->shape), 1);
	return EVN_OK;
}

evn_status evn_stages_split(evn_prepared *p, evn_error *err)
{
	staging s = {.p = p, .err = err};
	EVN_TRY(evn_stages_check(p->graph, err));
	EVN_TRY(begin(&s));
	EVN_TRY(fit_memory(&s));
	for (uint32_t i = 0; i < CACHE_SPLITS && evn_limit_caches(p, s.memory); i++)
		EVN_TRY(fit_memory(&s));
	return EVN_OK;
}

/* ---- times ----------------------------------------------------------------------------------------------------- */

typedef struct {
	double sum, most;
	uint32_t n_hops;
} stage_times;

/* The times of the stages for n rows. The head computes one of a prompt's. */
static stage_times times_of(const evn_prepared *p, evn_phase phase, uint32_t n_rows)
{
	const evn_plan_step step = {phase, n_rows, phase == EVN_DECODE ? EVN_PLAN_POSITION : 0};
	stage_times t = {0};
	for (uint32_t i = 0; i < evn_nodes_count(p->nodes.nodes); i++) {
		double slowest = 0;
		for (uint32_t r = p->nodes.first[i]; r < p->nodes.first[i + 1]; r++)
			slowest = fmax(slowest, evn_predict_rank_s(&p->split, r, &p->ranks[r].rates, step, 1));
		t.sum += slowest;
		t.most = fmax(t.most, slowest);
		t.n_hops += i != evn_stage_before(&p->stages, i) && evn_range_len(p->stages.blocks[i]);
	}
	t.n_hops += p->stages.last != 0; /* the logits, back to node 0 */
	return t;
}

/* A piece passes all stages, and the others follow it. */
static double pieces_s(const evn_prepared *p, evn_phase phase, uint32_t n_rows, uint32_t m)
{
	const stage_times t = times_of(p, phase, (n_rows + m - 1) / m);
	const double row_us = phase == EVN_PROMPT ? p->exchange.prompt_us / EVN_PLAN_PROMPT : 0;
	const double hop_us = fmax(p->exchange.token_us, row_us * (n_rows + m - 1) / m);
	return t.sum + (m - 1) * t.most + t.n_hops * hop_us * 1e-6;
}

uint32_t evn_stages_pieces(const evn_prepared *p, evn_phase phase, uint32_t n_rows)
{
	const uint32_t least = phase == EVN_PROMPT ? LEAST_PROMPT_ROWS : 1;
	double shortest = INFINITY;
	uint32_t best = 1;
	for (uint32_t m = 1; m <= MOST_PIECES && (m == 1 || n_rows / m >= least); m *= 2) {
		const double s = pieces_s(p, phase, n_rows, m);
		if (s < shortest) {
			shortest = s;
			best = m;
		}
	}
	return best;
}

/* `cost` is that between the ranks of a node. */
evn_prediction evn_stages_predict(const evn_prepared *p, evn_reduce_cost cost)
{
	const double n_reduces = evn_plan_n_reduces(&p->shape);
	const uint32_t m = evn_stages_pieces(p, EVN_PROMPT, EVN_PLAN_PROMPT);
	const double decode_s = pieces_s(p, EVN_DECODE, 1, 1) + n_reduces * cost.token_us * 1e-6;
	const double prompt_s = pieces_s(p, EVN_PROMPT, EVN_PLAN_PROMPT, m) + n_reduces * cost.prompt_us * 1e-6;
	return (evn_prediction){.decode_tok_s = 1 / decode_s, .prefill_tok_s = EVN_PLAN_PROMPT / prompt_s};
}
