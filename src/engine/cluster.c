#include "engine/cluster.h"
#include "evener/inspect.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Nodes are equal by now, or this is how they find out: structs travel as they are. */

uint32_t evn_cluster_launched(void) { return evn_nodes_launched(); }

evn_status evn_cluster_join(evn_cluster **out, evn_error *err)
{
	evn_cluster *c = *out = calloc(1, sizeof *c);
	if (!c)
		return evn_fail_memory(err, "cluster", sizeof *c);
	return evn_nodes_join(&c->nodes, err);
}

uint32_t evn_cluster_node(const evn_cluster *c) { return evn_nodes_index(c->nodes); }
uint32_t evn_cluster_nodes(const evn_cluster *c) { return evn_nodes_count(c->nodes); }
const char *evn_cluster_host(const evn_cluster *c, uint32_t node) { return evn_nodes_host(c->nodes, node); }
bool evn_cluster_knows(const evn_cluster *c) { return c->knows; }
void evn_cluster_abort(evn_cluster *c, int exit_code) { evn_nodes_abort(c->nodes, exit_code); }

void evn_cluster_fail(evn_cluster *c, const evn_error *why)
{
	if (c->failed && !atomic_exchange(&c->told, true))
		c->failed(c->user, why);
}

static void on_lost(void *cluster, const evn_error *why) { evn_cluster_fail(cluster, why); }

void evn_cluster_on_failure(evn_cluster *c, void (*failed)(void *user, const evn_error *why), void *user)
{
	c->user = user;
	c->failed = failed;
	evn_nodes_on_lost(c->nodes, on_lost, c);
}

void evn_cluster_leave(evn_cluster *c)
{
	if (!c)
		return;
	evn_nodes_leave(c->nodes);
	free(c);
}

/* ---- agreeing -------------------------------------------------------------------------------------------------- */

evn_status evn_cluster_exchange(const evn_cluster *c, void *all, uint64_t bytes, evn_error *err)
{
	uint32_t first[EVN_MAX_NODES + 1];
	for (uint32_t i = 0; i <= EVN_MAX_NODES; i++)
		first[i] = i;
	const evn_node_slots slots = {.base = all, .apart = bytes, .bytes = bytes, .used = UINT64_MAX, .first = first};
	return evn_nodes_exchange(c->nodes, &slots, NULL, err);
}

evn_status evn_cluster_agree(evn_cluster *c, evn_status mine, evn_error *err)
{
	const uint32_t n = evn_cluster_nodes(c), own = evn_cluster_node(c);
	evn_error *words = calloc(n, sizeof *words);
	if (!words)
		return evn_fail_memory(err, "nodes", n * sizeof *words);
	if (mine != EVN_OK)
		words[own] = *err;
	words[own].code = mine;
	evn_status s = evn_cluster_exchange(c, words, sizeof *words, err);
	for (uint32_t i = 0; i < n && s == EVN_OK; i++)
		if (words[i].code != EVN_OK) {
			c->knows = true;
			s = evn_fail(err, words[i].code, "node %u (%s): %.800s", i, evn_cluster_host(c, i), words[i].text);
		}
	free(words);
	return s;
}

/* ---- are the nodes equal? -------------------------------------------------------------------------------------- */

typedef struct {
	uint64_t kernels, model;
	uint32_t context, batch, cache_tokens, activations, kv_cache, messages, split;
} settings;

/* The version is in front, so that other versions can read at least that. */
#define GREETING_BYTES 1024
typedef struct {
	char version[64];
	settings settings;
	char room[GREETING_BYTES - 64 - sizeof(settings)];
} greeting;

static evn_status check_same(const settings *mine, const settings *first, evn_error *err)
{
	static const char *const activations[] = {"auto", "f32", "q8"}, *const caches[] = {"f32", "f16", "q8_0", "q4_0"};
	static const char *const messages[] = {"f32", "f16", "bf16", "q8"}, *const splits[] = {"auto", "tensor",
																						   "pipeline"};
	const struct {
		const char *name;
		uint32_t mine, first;
	} sizes[] = {{"context", mine->context, first->context},
				 {"batch", mine->batch, first->batch},
				 {"cache_tokens", mine->cache_tokens, first->cache_tokens}};
	const struct {
		const char *name, *mine, *first;
	} names[] = {{"activations", activations[mine->activations], activations[first->activations]},
				 {"kv_cache", caches[mine->kv_cache], caches[first->kv_cache]},
				 {"messages", messages[mine->messages], messages[first->messages]},
				 {"cluster-split", splits[mine->split], splits[first->split]}};
	if (mine->kernels != first->kernels)
		return evn_fail(err, EVN_ERR_USAGE,
						"kernels: expected those of node 0, found others (checksum %016llx, %016llx)",
						(unsigned long long)first->kernels, (unsigned long long)mine->kernels);
	if (mine->model != first->model)
		return evn_fail(err, EVN_ERR_USAGE,
						"model: expected that of node 0, found another one (checksum %016llx, %016llx)",
						(unsigned long long)first->model, (unsigned long long)mine->model);
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
		if (sizes[i].mine && sizes[i].mine != sizes[i].first)
			return evn_fail(err, EVN_ERR_USAGE, "%s: expected %u as on node 0, found %u", sizes[i].name,
							sizes[i].first, sizes[i].mine);
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (names[i].mine != names[i].first)
			return evn_fail(err, EVN_ERR_USAGE, "%s: expected %s as on node 0, found %s", names[i].name,
							names[i].first, names[i].mine);
	return EVN_OK;
}

/* What one process can do and several cannot. */
static evn_status check_possible(const evn_options *o, evn_purpose purpose, evn_error *err)
{
	if (o->cluster_split != EVN_CLUSTER_PIPELINE && (o->reduce == EVN_REDUCE_EVENTS || o->reduce == EVN_REDUCE_FLAGS))
		return evn_fail(err, EVN_ERR_USAGE, "reduce: expected auto or host, as there are several nodes, found %s",
						evn_reduce_name(o->reduce));
	if (o->cluster_split == EVN_CLUSTER_PIPELINE && purpose == EVN_FOR_TRAINING)
		return evn_fail(err, EVN_ERR_UNSUPPORTED,
						"cluster-split: expected tensor or auto for training, found pipeline");
	if (o->rebalance)
		return evn_fail(err, EVN_ERR_UNSUPPORTED, "rebalance: shares do not move between nodes, expected off");
	return EVN_OK;
}

static evn_status greet(evn_cluster *c, const evn_model *m, evn_options *o, greeting *g, evn_error *err)
{
	settings mine = {.kernels = evn_kernels_hash(),
					 .context = o->context,
					 .batch = o->batch,
					 .cache_tokens = o->cache_tokens,
					 .activations = o->activations,
					 .kv_cache = o->kv_cache,
					 .messages = o->messages,
					 .split = (uint32_t)o->cluster_split};
	const evn_status status = evn_model_identity(m, &mine.model, err);
	const bool leads = evn_cluster_node(c) == 0;
	snprintf(g->version, sizeof g->version, "%s", evn_version());
	g->settings = mine;
	EVN_TRY(evn_nodes_broadcast(c->nodes, g, sizeof *g, NULL, err));
	if (status != EVN_OK || leads)
		return status;
	if (strcmp(g->version, evn_version()) != 0)
		return evn_fail(err, EVN_ERR_USAGE, "version: expected %.60s as on node 0, found %s", g->version,
						evn_version());
	EVN_TRY(check_same(&mine, &g->settings, err));
	o->context = g->settings.context;
	o->batch = g->settings.batch;
	o->cache_tokens = g->settings.cache_tokens;
	return EVN_OK;
}

evn_status evn_cluster_compare(evn_cluster *c, const evn_model *m, evn_options *o, evn_purpose purpose,
							   evn_error *err)
{
	evn_error ignored;
	greeting *g = calloc(1, sizeof *g);
	err = err ? err : &ignored;
	c->knows = false;
	if (!g)
		return evn_fail_memory(err, "cluster", sizeof *g);
	evn_status s = greet(c, m, o, g, err);
	free(g);
	if (s == EVN_OK)
		s = check_possible(o, purpose, err);
	return evn_cluster_agree(c, s, err);
}

/* ---- ranks of all nodes ---------------------------------------------------------------------------------------- */

typedef struct {
	uint32_t n;
	evn_plan_candidate ranks[EVN_MAX_RANKS];
	evn_rank_profile profiles[EVN_MAX_RANKS];
	evn_rank_device devices[EVN_MAX_RANKS];
	evn_best_alone best_alone;
} node_ranks;

static void pack(node_ranks *out, const evn_prepared *p)
{
	out->n = p->n;
	memcpy(out->ranks, p->ranks, sizeof out->ranks);
	memcpy(out->profiles, p->profile.ranks, sizeof out->profiles);
	memcpy(out->devices, p->devices, sizeof out->devices);
	out->best_alone = p->best_alone;
}

static void take_rank(evn_prepared *p, const node_ranks *from, uint32_t k, uint32_t node, const char *host)
{
	evn_rank_device *d = &p->devices[p->n];
	p->ranks[p->n] = from->ranks[k];
	p->ranks[p->n].name = p->ranks[p->n].id = NULL;
	p->profile.ranks[p->n] = from->profiles[k];
	*d = from->devices[k];
	snprintf(d->node, sizeof d->node, "%u (%.80s)", node, host);
	p->n++;
}

static evn_status join(evn_cluster *c, evn_prepared *p, const node_ranks *all, evn_error *err)
{
	const uint32_t n_nodes = evn_cluster_nodes(c), own = evn_cluster_node(c);
	evn_pick picks[EVN_MAX_RANKS];
	uint32_t total = 0;
	for (uint32_t i = 0; i < n_nodes; i++)
		total += all[i].n;
	if (total > EVN_MAX_RANKS)
		return evn_fail(err, EVN_ERR_LIMIT, "%u devices on %u nodes, at most %d can hold a share", total, n_nodes,
						EVN_MAX_RANKS);
	memcpy(picks, p->picks, sizeof picks);
	memset(p->picks, 0, sizeof p->picks);
	p->n = 0;
	p->nodes.nodes = c->nodes;
	for (uint32_t i = 0; i < n_nodes; i++) {
		p->nodes.first[i] = p->n;
		for (uint32_t k = 0; k < all[i].n; k++)
			take_rank(p, &all[i], k, i, evn_cluster_host(c, i));
		if (all[i].best_alone.predicted.decode_tok_s > p->best_alone.predicted.decode_tok_s)
			p->best_alone = all[i].best_alone;
	}
	p->nodes.first[n_nodes] = p->n;
	p->begin = p->nodes.first[own];
	p->end = p->nodes.first[own + 1];
	memcpy(p->picks + p->begin, picks, (p->end - p->begin) * sizeof *picks);
	return EVN_OK;
}

#define TOKEN_TIMES 50
#define PROMPT_TIMES 3

/* The median time of an exchange of messages of n_floats. Each begins when the one before has ended everywhere. */
static evn_status time_exchange(const evn_prepared *p, uint64_t n_floats, uint32_t n, double *us, evn_error *err)
{
	double times[TOKEN_TIMES];
	const uint64_t bytes = n_floats * sizeof(float);
	evn_node_slots slots = {
		.apart = bytes, .bytes = bytes, .used = UINT64_MAX >> (64 - p->n), .first = p->nodes.first};
	slots.base = calloc(p->n, bytes);
	evn_status s = slots.base ? EVN_OK : evn_fail_memory(err, "messages", p->n * bytes);
	for (uint32_t i = 0; i < n && s == EVN_OK; i++) {
		const uint64_t began = evn_now_ns();
		s = evn_nodes_exchange(p->nodes.nodes, &slots, NULL, err);
		times[i] = (double)(evn_now_ns() - began) * 1e-3;
	}
	*us = s == EVN_OK ? evn_median(times, n) : 0;
	free(slots.base);
	return s;
}

static evn_status measure(evn_cluster *c, evn_prepared *p, evn_error *err)
{
	const uint64_t row = evn_round_up(p->graph->h->dim, EVN_PAD); /* buffers have room for more rows than one */
	EVN_TRY(time_exchange(p, row, TOKEN_TIMES, &p->exchange.token_us, err));
	EVN_TRY(time_exchange(p, row * EVN_PLAN_PROMPT, PROMPT_TIMES, &p->exchange.prompt_us, err));
	evn_log(EVN_LOG_INFO, "%u nodes exchange the messages of a token in %.0f us, those of %u tokens in %.0f us",
			evn_cluster_nodes(c), p->exchange.token_us, EVN_PLAN_PROMPT, p->exchange.prompt_us);
	return EVN_OK;
}

evn_status evn_cluster_collect_ranks(evn_cluster *c, evn_prepared *p, evn_status chosen, evn_error *err)
{
	evn_error own = {0};
	if (err)
		own = *err;
	evn_status s = evn_cluster_agree(c, chosen, &own);
	node_ranks *all = s == EVN_OK ? calloc(evn_cluster_nodes(c), sizeof *all) : NULL;
	if (s == EVN_OK && !all)
		s = evn_fail_memory(&own, "ranks", sizeof *all);
	if (s == EVN_OK) {
		pack(&all[evn_cluster_node(c)], p);
		s = evn_cluster_exchange(c, all, sizeof *all, &own);
	}
	if (s == EVN_OK)
		s = evn_cluster_agree(c, join(c, p, all, &own), &own);
	free(all);
	if (s == EVN_OK)
		s = measure(c, p, &own);
	if (err)
		*err = own;
	return s;
}

/* ---- the split ------------------------------------------------------------------------------------------------- */

static uint64_t parts_of(const evn_split *s, uint32_t k)
{
	return (uint64_t)s->shape.classes[k].n_blocks * s->n_ranks;
}

typedef struct {
	uint32_t n_batch;
	bool one_layout;
	evn_stages stages;
} split_head;

static evn_status share(evn_cluster *c, evn_prepared *p, evn_error *err)
{
	split_head head = {p->limits.n_batch, p->split.one_layout, p->stages};
	EVN_TRY(evn_nodes_broadcast(c->nodes, &head, sizeof head, NULL, err));
	p->limits.n_batch = head.n_batch;
	p->split.one_layout = head.one_layout;
	p->stages = head.stages;
	p->nodes.apart = p->stages.split == EVN_CLUSTER_PIPELINE;
	for (uint32_t k = 0; k < p->split.shape.n_classes; k++)
		EVN_TRY(evn_nodes_broadcast(c->nodes, p->split.parts[k], parts_of(&p->split, k) * sizeof *p->split.parts[k],
									NULL, err));
	return EVN_OK;
}

evn_status evn_cluster_share_split(evn_cluster *c, evn_prepared *p, evn_status split, evn_error *err)
{
	evn_error own = {0};
	if (c->knows) /* no ranks were collected, on any node */
		return split;
	if (err)
		own = *err;
	if (split == EVN_OK && evn_cluster_node(c))
		split = evn_split_make_empty(&p->split, &p->shape, p->n, &own);
	evn_status s = evn_cluster_agree(c, split, &own);
	if (s == EVN_OK)
		s = share(c, p, &own);
	if (err)
		*err = own;
	return s;
}
