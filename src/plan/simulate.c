/* simulate.c - see simulate.h. The cuts of a model over a cluster, each over the devices that suit it best. */
#include "plan/simulate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "plan/search.h"

#define WORTH_IT 1.02 /* as in choose.c: the gain over one node that several nodes need */

const char *evn_sim_cut_name(evn_sim_cut cut)
{
	static const char *const names[EVN_SIM_CUTS] = {[EVN_SIM_ONE_NODE] = "one node",
													[EVN_SIM_TENSOR] = "tensor",
													[EVN_SIM_PIPELINE] = "pipeline",
													[EVN_SIM_REPLICA] = "replica"};
	return names[cut];
}

static void put_set(evn_sim_plan *out, const evn_sim_input *in, const evn_sim_set *set)
{
	out->n_nodes = evn_sim_nodes(in, set);
	out->n_devices = (uint32_t)evn_sim_devices(in, set);
	for (uint32_t k = 0; k < in->cluster->n_nodes; k++) {
		const bool taken = set->nodes[k] && evn_sim_node_devices(in, set, k);
		out->nodes[k] = taken ? set->nodes[k] : 0;
		for (uint32_t j = 0; j < in->cluster->nodes[k].n_devices; j++)
			out->devices[k][j] = taken ? set->devices[k][j] : 0;
	}
}

/* What the busiest node receives for a token: the messages of all devices of other nodes. */
static double received_bytes(const evn_sim_input *in, const evn_sim_set *set)
{
	double most = 0;
	for (uint32_t k = 0; k < in->cluster->n_nodes; k++)
		if (set->nodes[k] && evn_sim_node_devices(in, set, k))
			most = fmax(most, (double)evn_sim_devices(in, set) - evn_sim_node_devices(in, set, k));
	return most * evn_plan_n_reduces(in->shape) * in->row_bytes;
}

evn_status evn_sim_tensor(evn_sim_plan *out, const evn_sim_input *in, const evn_sim_set *set, evn_error *err)
{
	evn_sim_ranks r;
	*out = (evn_sim_plan){.n_groups = 1};
	const evn_status s = evn_sim_split(&r, in, in->shape, set, false, err);
	if (s != EVN_OK)
		return s == EVN_ERR_LIMIT ? EVN_OK : s;
	put_set(out, in, set);
	out->possible = true;
	out->decode_tok_s = 1 / evn_sim_step_s(&r, 1);
	out->together_tok_s = evn_sim_texts(in) / evn_sim_step_s(&r, evn_sim_texts(in));
	out->prompt_tok_s = EVN_PLAN_PROMPT / evn_sim_prompt_s(&r);
	out->all_reduce_us = r.cost.token_us;
	out->node_bytes = received_bytes(in, set);
	evn_sim_ranks_free(&r);
	return EVN_OK;
}

/* ---- which devices share every matrix -------------------------------------------------------------------------- */

/* The search counts, for each kind of nodes, the nodes and then the devices of each of their kinds. */
typedef struct {
	const evn_sim_input *in;
	uint32_t least_nodes;
	bool any_memory;
	double bytes, macs; /* of the whole model, for a step */
	evn_status status;
	evn_error *err;
	evn_search_problem problem;
	uint32_t *starts, n_starts;
} choosing;

static evn_sim_set set_of(const evn_sim_input *in, const uint32_t *counts)
{
	evn_sim_set set = {0};
	for (uint32_t k = 0; k < in->cluster->n_nodes; k++) {
		set.nodes[k] = *counts++;
		for (uint32_t j = 0; j < in->cluster->nodes[k].n_devices; j++)
			set.devices[k][j] = *counts++;
	}
	return set;
}

static double value_of(void *user, const uint32_t *counts)
{
	choosing *ch = user;
	const evn_sim_set set = set_of(ch->in, counts);
	evn_sim_ranks r;
	evn_error ignored;
	if (evn_sim_nodes(ch->in, &set) < ch->least_nodes || ch->status != EVN_OK)
		return 0;
	const evn_status s = evn_sim_split(&r, ch->in, ch->in->shape, &set, ch->any_memory, &ignored);
	if (s != EVN_OK && s != EVN_ERR_LIMIT) {
		ch->status = s;
		*ch->err = ignored;
	}
	if (s != EVN_OK)
		return 0;
	const double value = evn_sim_texts(ch->in) / evn_sim_step_s(&r, evn_sim_texts(ch->in));
	evn_sim_ranks_free(&r);
	return value;
}

/* The slowest rank takes no less than the mean, and no rank waits for less than the all-reduces. */
static double bound_of(void *user, const uint32_t *counts)
{
	const choosing *ch = user;
	const evn_sim_set set = set_of(ch->in, counts);
	const evn_reduce_cost cost = evn_sim_reduce_cost(ch->in, &set);
	const uint32_t n_rows = evn_sim_texts(ch->in);
	double gbs = 0, gflops = 0;
	for (uint32_t k = 0; k < ch->in->cluster->n_nodes; k++)
		for (uint32_t j = 0; j < ch->in->cluster->nodes[k].n_devices; j++) {
			const evn_sim_device *d = &ch->in->cluster->nodes[k].devices[j];
			gbs += (double)set.nodes[k] * set.devices[k][j] * d->gbs;
			gflops += (double)set.nodes[k] * set.devices[k][j] * d->gflops;
		}
	if (gbs <= 0)
		return 0;
	const double work_s = fmax(ch->bytes / (gbs * 1e9), n_rows > 1 ? n_rows * 2 * ch->macs / (gflops * 1e9) : 0);
	const double reduce_us = cost.token_us + (n_rows - 1) * cost.prompt_us / EVN_PLAN_PROMPT;
	return n_rows / (work_s + evn_plan_n_reduces(ch->in->shape) * reduce_us * 1e-6);
}

static uint64_t n_devices_of(void *user, const uint32_t *counts)
{
	const choosing *ch = user;
	const evn_sim_set set = set_of(ch->in, counts);
	return evn_sim_devices(ch->in, &set);
}

static void measure_model(choosing *ch)
{
	const evn_plan_shape *s = ch->in->shape;
	for (uint32_t k = 0; k < s->n_classes; k++) {
		const evn_plan_class *c = &s->classes[k];
		const double n = c->n_blocks, n_groups = c->n / c->group;
		ch->bytes += n * (c->n * (double)c->unit_bytes + n_groups * (double)c->group_bytes) * c->read_fraction;
		ch->macs += k == EVN_PLAN_VOCAB ? 0 : n * (c->n * c->unit_macs + n_groups * c->group_macs) * c->read_fraction;
	}
}

/* ---- starting points ------------------------------------------------------------------------------------------- */

/* Adds n nodes of a kind to a start, with their devices of kind `only`, or with all if that is none. */
static void put_kind(choosing *ch, uint32_t kind, uint32_t n, uint32_t only)
{
	const evn_sim_cluster *c = ch->in->cluster;
	uint32_t i = 0;
	for (uint32_t k = 0; k < kind; k++)
		i += 1 + c->nodes[k].n_devices;
	uint32_t *counts = ch->starts + (size_t)ch->n_starts * ch->problem.n_kinds + i;
	const uint32_t *most = ch->problem.most + i;
	*counts = n < *most ? n : *most;
	for (uint32_t j = 0; j < c->nodes[kind].n_devices; j++)
		counts[1 + j] = only == j || only == c->nodes[kind].n_devices ? most[1 + j] : 0;
}

static double figure_of(const evn_sim_node *n, bool memory)
{
	double sum = 0;
	for (uint32_t j = 0; j < n->n_devices; j++)
		sum += n->devices[j].count * (memory ? (double)n->devices[j].memory_bytes : n->devices[j].gbs);
	return sum;
}

/* All nodes of the first kind, of the first two kinds, ...: the fastest first, or those with the most memory. */
static void start_by(choosing *ch, bool memory)
{
	const evn_sim_cluster *c = ch->in->cluster;
	uint32_t order[EVN_SIM_NODES];
	for (uint32_t k = 0; k < c->n_nodes; k++) {
		uint32_t i = k;
		for (; i > 0 && figure_of(&c->nodes[order[i - 1]], memory) < figure_of(&c->nodes[k], memory); i--)
			order[i] = order[i - 1];
		order[i] = k;
	}
	for (uint32_t n = 1; n <= c->n_nodes; n++, ch->n_starts++)
		for (uint32_t i = 0; i < n; i++)
			put_kind(ch, order[i], UINT32_MAX, c->nodes[order[i]].n_devices);
}

#define MOST_STARTS (EVN_SIM_NODES * (EVN_SIM_DEVICES + 3))

static void put_starts(choosing *ch)
{
	const evn_sim_cluster *c = ch->in->cluster;
	for (uint32_t k = 0; k < c->n_nodes; k++)
		for (uint32_t only = 0; only <= c->nodes[k].n_devices; only++, ch->n_starts++)
			put_kind(ch, k, ch->least_nodes, only);
	start_by(ch, false);
	start_by(ch, true);
}

/* `most`: the most nodes of each kind. *out is empty if no set of at least least_nodes nodes can hold the model. */
static evn_status choose(evn_sim_set *out, const evn_sim_input *in, const uint32_t *most, uint32_t least_nodes,
						 bool any_memory, uint32_t *n_tried, evn_error *err)
{
	evn_error own = {0};
	choosing ch = {.in = in, .least_nodes = least_nodes, .any_memory = any_memory, .err = &own};
	evn_search_result found;
	ch.problem = (evn_search_problem){.value = value_of, .bound = bound_of, .n_things = n_devices_of, .user = &ch};
	for (uint32_t k = 0; k < in->cluster->n_nodes; k++) {
		ch.problem.most[ch.problem.n_kinds++] = most[k];
		for (uint32_t j = 0; j < in->cluster->nodes[k].n_devices; j++)
			ch.problem.most[ch.problem.n_kinds++] = most[k] ? in->cluster->nodes[k].devices[j].count : 0;
	}
	*out = (evn_sim_set){0};
	measure_model(&ch);
	ch.starts = calloc((size_t)MOST_STARTS * ch.problem.n_kinds, sizeof *ch.starts);
	if (!ch.starts)
		return evn_fail_memory(err, "search", 0);
	put_starts(&ch);
	evn_status s = evn_search(&found, &ch.problem, ch.starts, ch.n_starts, err);
	free(ch.starts);
	if (s == EVN_OK && ch.status != EVN_OK) {
		s = ch.status;
		if (err)
			*err = own;
	}
	if (s == EVN_OK) {
		*n_tried += found.n_tried;
		if (found.value > 0)
			*out = set_of(in, found.counts);
	}
	return s;
}

evn_status evn_sim_best_of_node(evn_sim_set *out, const evn_sim_input *in, uint32_t kind, bool any_memory,
								uint32_t *n_tried, evn_error *err)
{
	uint32_t most[EVN_SIM_NODES] = {0};
	most[kind] = 1;
	return choose(out, in, most, 1, any_memory, n_tried, err);
}

/* ---- replicas -------------------------------------------------------------------------------------------------- */

typedef struct {
	const evn_sim_input *in;
	uint32_t *n_tried;
	evn_error *err;
} job;

static bool faster(const evn_sim_plan *a, const evn_sim_plan *b)
{
	return a->possible && (!b->possible || a->together_tok_s > b->together_tok_s);
}

/* The fastest way to compute n_texts by n nodes of one kind that have the model once. */
static evn_status plan_group(evn_sim_plan *out, const job *j, uint32_t kind, uint32_t n, uint32_t n_texts)
{
	evn_sim_cluster c = *j->in->cluster;
	evn_sim_input in = *j->in;
	evn_sim_plan other;
	evn_sim_set set;
	in.cluster = &c;
	c.texts = n_texts;
	*out = (evn_sim_plan){0};
	EVN_TRY(evn_sim_best_of_node(&set, &in, kind, n > 1, j->n_tried, j->err));
	set.nodes[kind] = n;
	++*j->n_tried;
	EVN_TRY(evn_sim_tensor(out, &in, &set, j->err));
	if (n == 1)
		return EVN_OK;
	for (uint32_t d = 0; d < c.nodes[kind].n_devices; d++)
		set.devices[kind][d] = c.nodes[kind].devices[d].count;
	++*j->n_tried;
	EVN_TRY(evn_sim_tensor(&other, &in, &set, j->err));
	*out = faster(&other, out) ? other : *out;
	EVN_TRY(evn_sim_pipeline(&other, &in, &set, j->n_tried, j->err));
	*out = faster(&other, out) ? other : *out;
	return EVN_OK;
}

/* As many groups of n nodes as there are nodes and texts for. */
static evn_status plan_groups(evn_sim_plan *out, const job *j, uint32_t kind, uint32_t n, uint32_t n_texts)
{
	const uint32_t room = j->in->cluster->nodes[kind].count / n, n_groups = room < n_texts ? room : n_texts;
	const uint32_t n_rows = (n_texts + n_groups - 1) / n_groups;
	EVN_TRY(plan_group(out, j, kind, n, n_rows));
	if (!out->possible)
		return EVN_OK;
	out->n_groups = n_groups;
	out->together_tok_s *= (double)n_texts / n_rows;
	out->nodes[kind] *= n_groups;
	out->n_nodes *= n_groups;
	out->n_devices *= n_groups;
	return EVN_OK;
}

/* Groups of one kind of nodes: the smallest that can hold the model; for several texts also larger ones. */
static evn_status plan_kind(evn_sim_plan *out, const job *j, uint32_t kind, uint32_t n_texts)
{
	*out = (evn_sim_plan){0};
	for (uint32_t n = 1; n <= j->in->cluster->nodes[kind].count && !(out->possible && n_texts == 1); n *= 2) {
		evn_sim_plan p;
		EVN_TRY(plan_groups(&p, j, kind, n, n_texts));
		if (p.possible && p.together_tok_s > out->together_tok_s * (out->possible ? WORTH_IT : 0))
			*out = p;
	}
	return EVN_OK;
}

static void add_plan(evn_sim_plan *sum, const evn_sim_plan *p)
{
	sum->possible = true;
	sum->n_nodes += p->n_nodes;
	sum->n_devices += p->n_devices;
	sum->n_groups += p->n_groups;
	for (uint32_t k = 0; k < EVN_SIM_NODES; k++) {
		sum->nodes[k] += p->nodes[k];
		for (uint32_t j = 0; j < EVN_SIM_DEVICES; j++)
			sum->devices[k][j] += p->devices[k][j];
	}
	sum->together_tok_s += p->together_tok_s;
	sum->decode_tok_s = fmax(sum->decode_tok_s, p->decode_tok_s);
	sum->prompt_tok_s = fmax(sum->prompt_tok_s, p->prompt_tok_s);
	sum->all_reduce_us = fmax(sum->all_reduce_us, p->all_reduce_us);
	sum->node_bytes = fmax(sum->node_bytes, p->node_bytes);
}

/* Texts are given to the kinds of nodes by their speeds, or all to the fastest kind. */
static evn_status plan_replicas(evn_sim_plan *out, const job *j)
{
	const uint32_t n_texts = evn_sim_texts(j->in);
	evn_sim_plan alone[EVN_SIM_NODES], several = {0};
	double sum = 0;
	*out = (evn_sim_plan){0};
	for (uint32_t k = 0; k < j->in->cluster->n_nodes; k++) {
		EVN_TRY(plan_kind(&alone[k], j, k, n_texts));
		sum += alone[k].together_tok_s;
		*out = faster(&alone[k], out) ? alone[k] : *out;
	}
	for (uint32_t k = 0; k < j->in->cluster->n_nodes && n_texts > 1; k++) {
		const uint32_t n = alone[k].possible ? (uint32_t)(n_texts * alone[k].together_tok_s / sum + 0.5) : 0;
		evn_sim_plan p;
		if (!n)
			continue;
		EVN_TRY(plan_kind(&p, j, k, n));
		if (p.possible)
			add_plan(&several, &p);
	}
	*out = faster(&several, out) ? several : *out;
	return EVN_OK;
}

/* ---- all cuts -------------------------------------------------------------------------------------------------- */

static evn_status plan_one_node(evn_sim_plan *out, const job *j)
{
	*out = (evn_sim_plan){0};
	for (uint32_t k = 0; k < j->in->cluster->n_nodes; k++) {
		evn_sim_set set;
		evn_sim_plan p;
		EVN_TRY(evn_sim_best_of_node(&set, j->in, k, false, j->n_tried, j->err));
		if (!evn_sim_devices(j->in, &set))
			continue;
		EVN_TRY(evn_sim_tensor(&p, j->in, &set, j->err));
		*out = faster(&p, out) ? p : *out;
	}
	return EVN_OK;
}

static evn_status plan_tensor(evn_sim_plan *out, const job *j)
{
	uint32_t most[EVN_SIM_NODES], sum = 0;
	evn_sim_set set;
	*out = (evn_sim_plan){0};
	for (uint32_t k = 0; k < j->in->cluster->n_nodes; k++)
		sum += most[k] = j->in->cluster->nodes[k].count;
	if (sum < 2)
		return EVN_OK;
	EVN_TRY(choose(&set, j->in, most, 2, false, j->n_tried, j->err));
	return evn_sim_devices(j->in, &set) ? evn_sim_tensor(out, j->in, &set, j->err) : EVN_OK;
}

static evn_status plan_pipeline(evn_sim_plan *out, const job *j)
{
	evn_sim_set all = {0};
	for (uint32_t k = 0; k < j->in->cluster->n_nodes; k++) {
		all.nodes[k] = j->in->cluster->nodes[k].count;
		for (uint32_t d = 0; d < j->in->cluster->nodes[k].n_devices; d++)
			all.devices[k][d] = j->in->cluster->nodes[k].devices[d].count;
	}
	return evn_sim_pipeline(out, j->in, &all, j->n_tried, j->err);
}

static evn_status nothing_fits(const evn_simulation *s, const evn_sim_input *in, evn_error *err)
{
	double memory = 0, devices = 0;
	for (uint32_t k = 0; k < in->cluster->n_nodes; k++) {
		memory += in->cluster->nodes[k].count * figure_of(&in->cluster->nodes[k], true);
		for (uint32_t j = 0; j < in->cluster->nodes[k].n_devices; j++)
			devices += (double)in->cluster->nodes[k].count * in->cluster->nodes[k].devices[j].count;
	}
	return evn_fail(err, EVN_ERR_LIMIT,
					"not enough device memory: weights and KV cache need %.2f GiB beside %.2f GiB of scratch on each "
					"device, and %.0f devices have %.2f GiB",
					(double)s->model_bytes / 0x1p30, (double)evn_plan_fixed_bytes(in->shape, 1) / 0x1p30, devices,
					memory / 0x1p30);
}

evn_status evn_plan_simulate(evn_simulation *out, const evn_sim_input *in, evn_error *err)
{
	const job j = {in, &out->n_tried, err};
	*out = (evn_simulation){.model_bytes = evn_plan_bytes(in->shape)};
	EVN_TRY(plan_one_node(&out->cuts[EVN_SIM_ONE_NODE], &j));
	EVN_TRY(plan_tensor(&out->cuts[EVN_SIM_TENSOR], &j));
	EVN_TRY(plan_pipeline(&out->cuts[EVN_SIM_PIPELINE], &j));
	EVN_TRY(plan_replicas(&out->cuts[EVN_SIM_REPLICA], &j));
	bool any = false;
	for (evn_sim_cut cut = 0; cut < EVN_SIM_CUTS; cut++) {
		const double needed = out->cuts[out->best].together_tok_s * (out->best == EVN_SIM_ONE_NODE ? WORTH_IT : 1);
		any |= out->cuts[cut].possible;
		if (out->cuts[cut].possible && (!out->cuts[out->best].possible || out->cuts[cut].together_tok_s > needed))
			out->best = cut;
	}
	return any ? EVN_OK : nothing_fits(out, in, err);
}
