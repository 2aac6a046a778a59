/* pipeline.c - the layers of a model over nodes, one stage after the other; the devices of a node share the layers of
 * their stage. One text passes all stages for each token. Several texts, and the parts of a prompt, follow each other
 * as micro-batches, so that the stages work at the same time. */
#include <math.h>
#include <stdlib.h>

#include "plan/simulate.h"

#define MOST_STAGES 1024u
#define MOST_PARTS 64u /* micro-batches of a prompt */

/* What a node of a kind does as a stage. */
typedef struct {
	uint32_t kind, n_nodes;
	evn_sim_set set; /* one node with its devices */
	double layer_s, vocab_s;
	uint32_t most_layers; /* that its memory holds, with the vocabulary */
} worker;

typedef struct {
	const worker *worker;
	uint32_t n_layers;
	bool has_vocab;
	uint32_t alike; /* an earlier stage with the same times, or the stage itself */
	evn_sim_ranks ranks;
	double row_s, prompt_s; /* a step of one text; a prompt of EVN_PLAN_PROMPT tokens */
} stage;

typedef struct {
	const evn_sim_input *in;
	uint32_t n_layers, n_workers, n_stages, *n_tried;
	worker workers[EVN_SIM_NODES]; /* the fastest first */
	stage *stages;
	evn_error *err;
} pipeline;

/* The classes of attention have a block for each layer; a model without attention has blocks only. */
static uint32_t count_layers(const evn_plan_shape *s)
{
	uint32_t n = 0;
	for (uint32_t k = EVN_PLAN_VOCAB + 1; k < s->n_classes; k++)
		n += s->classes[k].kind == EVN_CUT_HEADS ? s->classes[k].n_blocks : 0;
	return n ? n : evn_plan_n_blocks(s);
}

/* The shape of n of the layers. */
static evn_plan_shape shape_of(const pipeline *p, uint32_t n, bool has_vocab)
{
	evn_plan_shape s = *p->in->shape;
	for (uint32_t k = EVN_PLAN_VOCAB + 1; k < s.n_classes; k++)
		s.classes[k].n_blocks = (uint32_t)(((uint64_t)s.classes[k].n_blocks * n + p->n_layers / 2) / p->n_layers);
	if (!has_vocab) {
		s.classes[EVN_PLAN_VOCAB].unit_bytes = 0;
		s.classes[EVN_PLAN_VOCAB].unit_macs = 0;
	}
	return s;
}

static evn_status split_stage(evn_sim_ranks *out, const pipeline *p, const worker *w, uint32_t n, bool has_vocab)
{
	const evn_plan_shape s = shape_of(p, n, has_vocab);
	++*p->n_tried;
	return evn_sim_split(out, p->in, &s, &w->set, false, p->err);
}

/* ---- workers --------------------------------------------------------------------------------------------------- */

static uint32_t find_most_layers(const pipeline *p, const worker *w)
{
	uint32_t fits = 0, too_many = p->n_layers + 1;
	while (too_many - fits > 1) {
		const uint32_t n = fits + (too_many - fits) / 2;
		evn_sim_ranks r;
		const bool ok = split_stage(&r, p, w, n, true) == EVN_OK;
		evn_sim_ranks_free(&r);
		*(ok ? &fits : &too_many) = n;
	}
	return fits;
}

/* The devices that are fastest for the whole model make the stage. If their memory is short, all devices do. */
static evn_status add_worker(pipeline *p, const evn_sim_set *set, uint32_t kind)
{
	worker w = {.kind = kind, .n_nodes = set->nodes[kind]};
	evn_sim_ranks r;
	EVN_TRY(evn_sim_best_of_node(&w.set, p->in, kind, true, p->n_tried, p->err));
	w.most_layers = find_most_layers(p, &w);
	if (w.most_layers < p->n_layers) {
		worker all = w;
		for (uint32_t j = 0; j < p->in->cluster->nodes[kind].n_devices; j++)
			all.set.devices[kind][j] = p->in->cluster->nodes[kind].devices[j].count;
		all.most_layers = find_most_layers(p, &all);
		w = all.most_layers > w.most_layers ? all : w;
	}
	if (!w.most_layers)
		return EVN_OK;
	const evn_status s = evn_sim_split(&r, p->in, p->in->shape, &w.set, true, p->err);
	if (s == EVN_OK) {
		w.vocab_s = evn_predict_vocab_s(&r.split, r.ranks);
		w.layer_s = (evn_sim_step_s(&r, 1) - w.vocab_s) / p->n_layers;
		uint32_t i = p->n_workers++;
		for (; i > 0 && p->workers[i - 1].layer_s > w.layer_s; i--)
			p->workers[i] = p->workers[i - 1];
		p->workers[i] = w;
	}
	evn_sim_ranks_free(&r);
	return s == EVN_ERR_LIMIT ? EVN_OK : s;
}

/* ---- stages ---------------------------------------------------------------------------------------------------- */

/* The n fastest nodes. */
static void list_stages(pipeline *p, uint32_t n)
{
	p->n_stages = 0;
	for (uint32_t k = 0; k < p->n_workers; k++)
		for (uint32_t i = 0; i < p->workers[k].n_nodes && p->n_stages < n; i++)
			p->stages[p->n_stages++] = (stage){.worker = &p->workers[k]};
}

/* The time of a stage with one more layer. The last one has the vocabulary, too. */
static double with_one_more(const pipeline *p, uint32_t i)
{
	const stage *s = &p->stages[i];
	return (s->n_layers + 1) * s->worker->layer_s + (i + 1 == p->n_stages ? s->worker->vocab_s : 0);
}

/* balanced: no stage takes much longer than another; otherwise the fastest nodes get as many as they can hold. False
 * if memory is too short. Stages without layers are left out. */
static bool share_layers(pipeline *p, bool balanced)
{
	for (uint32_t layer = 0; layer < p->n_layers; layer++) {
		uint32_t best = p->n_stages;
		for (uint32_t i = 0; i < p->n_stages; i++) {
			if (p->stages[i].n_layers >= p->stages[i].worker->most_layers)
				continue;
			if (best == p->n_stages || (balanced && with_one_more(p, i) < with_one_more(p, best)))
				best = i;
		}
		if (best == p->n_stages)
			return false;
		p->stages[best].n_layers++;
	}
	uint32_t n = 0;
	for (uint32_t i = 0; i < p->n_stages; i++)
		if (p->stages[i].n_layers)
			p->stages[n++] = p->stages[i];
	p->n_stages = n;
	p->stages[n - 1].has_vocab = true;
	return n > 1;
}

static void free_stages(pipeline *p)
{
	for (uint32_t i = 0; i < p->n_stages; i++)
		if (p->stages[i].alike == i)
			evn_sim_ranks_free(&p->stages[i].ranks);
}

static uint32_t find_alike(const pipeline *p, uint32_t i)
{
	uint32_t k = 0;
	while (k < i && (p->stages[k].worker != p->stages[i].worker || p->stages[k].n_layers != p->stages[i].n_layers ||
					 p->stages[k].has_vocab != p->stages[i].has_vocab))
		k++;
	return k;
}

static evn_status split_stages(pipeline *p)
{
	for (uint32_t i = 0; i < p->n_stages; i++) {
		stage *s = &p->stages[i];
		s->alike = find_alike(p, i);
		if (s->alike < i)
			continue;
		const evn_status status = split_stage(&s->ranks, p, s->worker, s->n_layers, s->has_vocab);
		if (status != EVN_OK) {
			p->n_stages = i;
			free_stages(p);
			return status;
		}
		s->row_s = evn_sim_step_s(&s->ranks, 1);
		s->prompt_s = evn_sim_prompt_s(&s->ranks);
	}
	return EVN_OK;
}

/* ---- times ----------------------------------------------------------------------------------------------------- */

static double hops_s(const pipeline *p, double bytes)
{
	double us = 0;
	for (uint32_t i = 0; i < p->n_stages; i++) { /* the last one sends the id of the token to the first */
		const uint32_t next = i + 1 < p->n_stages ? i + 1 : 0;
		const evn_sim_link *l = &p->in->cluster->links[p->stages[i].worker->kind][p->stages[next].worker->kind];
		us += l->latency_us + (next ? bytes / (l->gbit_s * 125) : 0);
	}
	return us * 1e-6;
}

typedef struct {
	double sum, most;
} times;

static times step_times(const pipeline *p, uint32_t n_rows)
{
	times t = {0};
	double of_stage[MOST_STAGES];
	for (uint32_t i = 0; i < p->n_stages; i++) {
		const stage *s = &p->stages[i];
		of_stage[i] = s->alike < i ? of_stage[s->alike] : n_rows == 1 ? s->row_s : evn_sim_step_s(&s->ranks, n_rows);
		t.sum += of_stage[i];
		t.most = fmax(t.most, of_stage[i]);
	}
	return t;
}

/* Texts in m groups: a group's next token follows its last one, and a stage computes one group after the other. */
static double together_tok_s(const pipeline *p, uint32_t n_texts, uint32_t m)
{
	const uint32_t n_rows = (n_texts + m - 1) / m;
	const times t = step_times(p, n_rows);
	return n_texts / fmax(t.sum + hops_s(p, n_rows * p->in->row_bytes), m * t.most);
}

static double prompt_tok_s(const pipeline *p)
{
	times t = {0};
	double best = 0;
	for (uint32_t i = 0; i < p->n_stages; i++) {
		const double s = p->stages[p->stages[i].alike].prompt_s;
		t.sum += s;
		t.most = fmax(t.most, s);
	}
	for (uint32_t m = 1; m <= MOST_PARTS; m *= 2) {
		const double s = (t.sum + (m - 1) * t.most) / m + hops_s(p, p->in->prompt_bytes / m);
		best = fmax(best, EVN_PLAN_PROMPT / s);
	}
	return best;
}

static void describe(evn_sim_plan *out, const pipeline *p)
{
	const uint32_t n_texts = evn_sim_texts(p->in);
	*out = (evn_sim_plan){.possible = true, .n_nodes = p->n_stages, .n_groups = 1};
	for (uint32_t i = 0; i < p->n_stages; i++) {
		const worker *w = p->stages[i].worker;
		const uint32_t each = evn_sim_node_devices(p->in, &w->set, w->kind);
		out->nodes[w->kind]++;
		out->n_devices += each;
		for (uint32_t j = 0; j < p->in->cluster->nodes[w->kind].n_devices; j++)
			out->devices[w->kind][j] = w->set.devices[w->kind][j];
		out->all_reduce_us = fmax(out->all_reduce_us, p->stages[p->stages[i].alike].ranks.cost.token_us);
	}
	out->node_bytes = p->in->row_bytes;
	out->decode_tok_s = 1 / (step_times(p, 1).sum + hops_s(p, p->in->row_bytes));
	out->together_tok_s = out->decode_tok_s;
	const uint32_t most = n_texts < p->n_stages ? n_texts : p->n_stages;
	for (uint32_t m = 1; n_texts > 1 && m <= most; m = m == most ? most + 1 : 2 * m < most ? 2 * m : most)
		out->together_tok_s = fmax(out->together_tok_s, together_tok_s(p, n_texts, m));
	out->prompt_tok_s = prompt_tok_s(p);
}

static evn_status try_stages(evn_sim_plan *out, pipeline *p, uint32_t n, bool balanced)
{
	*out = (evn_sim_plan){0};
	list_stages(p, n);
	if (!share_layers(p, balanced))
		return EVN_OK;
	const evn_status s = split_stages(p);
	if (s != EVN_OK)
		return s == EVN_ERR_LIMIT ? EVN_OK : s;
	describe(out, p);
	free_stages(p);
	return EVN_OK;
}

/* The fastest for all texts together; of those within 1 % the one that is fastest for a prompt. */
static void take_best(evn_sim_plan *out, const evn_sim_plan *plans, uint32_t n)
{
	double largest = 0;
	for (uint32_t i = 0; i < n; i++)
		largest = fmax(largest, plans[i].together_tok_s);
	for (uint32_t i = 0; i < n; i++)
		if (plans[i].possible && plans[i].together_tok_s >= 0.99 * largest &&
			plans[i].prompt_tok_s > out->prompt_tok_s)
			*out = plans[i];
}

evn_status evn_sim_pipeline(evn_sim_plan *out, const evn_sim_input *in, const evn_sim_set *set, uint32_t *n_tried,
							evn_error *err)
{
	pipeline p = {.in = in, .n_layers = count_layers(in->shape), .n_tried = n_tried, .err = err};
	uint32_t most = evn_sim_nodes(in, set);
	*out = (evn_sim_plan){0};
	if (p.n_layers < 2 || p.n_layers > MOST_STAGES || most < 2)
		return EVN_OK;
	most = most < p.n_layers ? most : p.n_layers;
	p.stages = calloc(most, sizeof *p.stages);
	evn_sim_plan *plans = calloc(2 * (size_t)most, sizeof *plans);
	evn_status s = p.stages && plans ? EVN_OK : evn_fail_memory(err, "stages", most * sizeof *p.stages);
	uint32_t n_plans = 0;
	for (uint32_t k = 0; k < in->cluster->n_nodes && s == EVN_OK; k++)
		if (set->nodes[k])
			s = add_worker(&p, set, k);
	for (uint32_t n = 2; n <= most && p.n_workers && s == EVN_OK; n++)
		for (int balanced = 0; balanced < 2 && s == EVN_OK; balanced++)
			s = try_stages(&plans[n_plans++], &p, n, balanced);
	if (s == EVN_OK)
		take_best(out, plans, n_plans);
	free(plans);
	free(p.stages);
	return s;
}
