/* test_simulate.c - the simulator's cuts: the rule of thumb for two nodes, the best devices against all sets of
 * devices, and large clusters in short time. */
#include "plan/simulate.h"
#include "plan/shapes.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

typedef struct {
	evn_plan_shape shape;
	evn_sim_cluster cluster;
	evn_sim_input in;
} world;

static void describe_input(world *w, const llama *m)
{
	w->shape = shape_of(m);
	w->shape.classes[VOCAB].unit_macs = m->dim;
	w->in = (evn_sim_input){.shape = &w->shape,
							.cluster = &w->cluster,
							.key_flops = 4.0 * m->head_dim,
							.row_bytes = 4.0 * m->dim,
							.prompt_bytes = 4.0 * m->dim * EVN_PLAN_PROMPT};
}

static evn_sim_device device(uint32_t count, double gbs, double gib)
{
	return (evn_sim_device){
		.name = "d", .count = count, .memory_bytes = (uint64_t)(gib * (double)GIB), .gbs = gbs, .gflops = 20 * gbs};
}

static void link_all(evn_sim_cluster *c, double latency_us, double gbit_s, double message_us)
{
	for (uint32_t i = 0; i < EVN_SIM_NODES; i++)
		for (uint32_t k = 0; k < EVN_SIM_NODES; k++)
			c->links[i][k] = (evn_sim_link){latency_us, gbit_s, message_us};
}

static evn_simulation simulate(const world *w)
{
	evn_simulation s;
	evn_error err = {0};
	if (evn_plan_simulate(&s, &w->in, &err) != EVN_OK)
		fail_msg("%s", err.text);
	return s;
}

/* Two equal nodes decode faster only if half of a token's time on one exceeds 2 x layers x the time of an exchange.
 */
static void two_nodes_gain_by_the_rule_of_thumb(void **state)
{
	(void)state;
	llama m = small_model(256);
	m.n_heads = 8;
	m.n_kv_heads = 2;
	world w = {.cluster = {.n_nodes = 1,
						   .nodes = {{.name = "n", .count = 2, .n_devices = 1, .devices = {device(1, 1, 1)}}}}};
	describe_input(&w, &m);
	w.cluster.nodes[0].devices[0].gflops = 1e6;
	link_all(&w.cluster, 0, 1e9, 0);
	const double alone_s = 1 / simulate(&w).cuts[EVN_SIM_ONE_NODE].decode_tok_s;
	const double limit_us = alone_s / 2 / (2 * m.n_layers) * 1e6;
	for (int i = 0; i < 10; i++) {
		const double latency_us = limit_us * (0.1 + 0.2 * i);
		link_all(&w.cluster, latency_us, 1e9, 0);
		const evn_simulation s = simulate(&w);
		const double expected_s = alone_s / 2 + 2 * m.n_layers * latency_us * 1e-6;
		assert_true(fabs(s.cuts[EVN_SIM_TENSOR].decode_tok_s * expected_s - 1) < 0.01);
		assert_int_equal(s.best, latency_us < 0.97 * limit_us ? EVN_SIM_TENSOR : EVN_SIM_ONE_NODE);
	}
}

/* Four equal nodes with 4 layers each: one text is no faster than on one node, four texts are four times as fast. The
 * stages also compute the parts of a prompt at the same time. */
static void a_pipeline_fills_with_texts(void **state)
{
	(void)state;
	llama m = small_model(256);
	m.n_layers = 16;
	m.vocab = 16;
	world w = {.cluster = {.n_nodes = 1,
						   .nodes = {{.name = "n", .count = 4, .n_devices = 1, .devices = {device(1, 1, 1)}}}}};
	describe_input(&w, &m);
	link_all(&w.cluster, 0, 1e9, 0);
	for (uint32_t texts = 1; texts <= 4; texts += 3) {
		w.cluster.texts = texts;
		w.cluster.nodes[0].devices[0].gflops = 1e3;
		const evn_simulation s = simulate(&w);
		const evn_sim_plan *p = &s.cuts[EVN_SIM_PIPELINE], *one = &s.cuts[EVN_SIM_ONE_NODE];
		assert_true(fabs(p->decode_tok_s / one->decode_tok_s - 1) < 0.01);
		assert_true(fabs(p->together_tok_s / one->decode_tok_s - texts) < 0.01 * texts);
		assert_true(p->prompt_tok_s > 3.7 * one->prompt_tok_s);
		assert_int_equal(p->n_nodes, 4);
	}
}

/* Each of three nodes has memory for a little more than a third of the model. */
static void what_one_node_cannot_hold_several_can(void **state)
{
	(void)state;
	llama m = small_model(256);
	world w = {.cluster = {.n_nodes = 1,
						   .texts = 2,
						   .nodes = {{.name = "n", .count = 6, .n_devices = 1, .devices = {device(1, 1, 1)}}}}};
	evn_simulation s;
	evn_error err;
	describe_input(&w, &m);
	link_all(&w.cluster, 10, 10, 0);
	w.cluster.nodes[0].devices[0].memory_bytes = evn_plan_bytes(&w.shape) * 2 / 5 + m.fixed_bytes;
	s = simulate(&w);
	assert_false(s.cuts[EVN_SIM_ONE_NODE].possible);
	assert_true(s.cuts[EVN_SIM_TENSOR].n_nodes >= 3 && s.cuts[EVN_SIM_PIPELINE].n_nodes >= 3);
	assert_true(s.cuts[EVN_SIM_REPLICA].possible);
	assert_int_equal(s.cuts[EVN_SIM_REPLICA].n_nodes % s.cuts[EVN_SIM_REPLICA].n_groups, 0);
	w.cluster.nodes[0].count = 2;
	assert_int_equal(evn_plan_simulate(&s, &w.in, &err), EVN_ERR_LIMIT);
	assert_non_null(strstr(err.text, "not enough device memory"));
}

/* ---- all sets -------------------------------------------------------------------------------------------------- */

/* The same cluster with a kind for each node. */
static void expand(world *out, const world *w)
{
	evn_sim_cluster *c = &out->cluster;
	uint32_t from[EVN_SIM_NODES];
	*out = *w;
	out->in.shape = &out->shape;
	out->in.cluster = c;
	c->n_nodes = 0;
	for (uint32_t k = 0; k < w->cluster.n_nodes; k++)
		for (uint32_t i = 0; i < w->cluster.nodes[k].count; i++) {
			from[c->n_nodes] = k;
			c->nodes[c->n_nodes] = w->cluster.nodes[k];
			c->nodes[c->n_nodes++].count = 1;
		}
	for (uint32_t i = 0; i < c->n_nodes; i++)
		for (uint32_t k = 0; k < c->n_nodes; k++)
			c->links[i][k] = w->cluster.links[from[i]][from[k]];
}

/* The fastest of all sets of devices. */
static double fastest_of_all(const world *w)
{
	world e;
	double best = 0;
	uint32_t owner[32], kind[32], n = 0;
	expand(&e, w);
	for (uint32_t k = 0; k < e.cluster.n_nodes; k++)
		for (uint32_t j = 0; j < e.cluster.nodes[k].n_devices; j++)
			for (uint32_t d = 0; d < e.cluster.nodes[k].devices[j].count; d++, n++) {
				owner[n] = k;
				kind[n] = j;
			}
	for (uint32_t mask = 1; mask < 1u << n; mask++) {
		evn_sim_set set = {0};
		evn_sim_plan p;
		for (uint32_t i = 0; i < n; i++)
			if (mask >> i & 1) {
				set.nodes[owner[i]] = 1;
				set.devices[owner[i]][kind[i]]++;
			}
		assert_int_equal(evn_sim_tensor(&p, &e.in, &set, NULL), EVN_OK);
		best = fmax(best, p.together_tok_s);
	}
	return best;
}

static void random_world(world *w, uint64_t *state)
{
	llama m = random_model(state);
	uint32_t n_devices = 0;
	m.n_layers = random_in(state, 1, 6);
	*w = (world){0};
	w->cluster.texts = random_in(state, 0, 2) ? 1 : random_in(state, 2, 40);
	w->cluster.n_nodes = random_in(state, 1, 3);
	for (uint32_t k = 0; k < w->cluster.n_nodes; k++) {
		evn_sim_node *n = &w->cluster.nodes[k];
		*n = (evn_sim_node){.name = "n",
							.count = random_in(state, 1, 2),
							.n_devices = random_in(state, 1, 2),
							.reduce_us = random_in(state, 1, 50),
							.reduce_gbs = random_in(state, 0, 1) * 10};
		for (uint32_t j = 0; j < n->n_devices; j++) {
			const uint32_t most = 7 > n_devices ? (7 - n_devices) / n->count : 0;
			n->devices[j] = device(most > 1 ? random_in(state, 1, most < 3 ? most : 3) : 1, random_in(state, 1, 100),
								   0.001 * pow(2, random_in(state, 0, 14)));
			n->devices[j].block_us = random_in(state, 0, 30);
			n_devices += n->count * n->devices[j].count;
		}
	}
	describe_input(w, &m);
	for (uint32_t i = 0; i < w->cluster.n_nodes; i++)
		for (uint32_t k = 0; k <= i; k++) {
			const evn_sim_link l = {pow(2, random_in(state, 0, 10)), pow(2, random_in(state, 0, 7)), 1};
			w->cluster.links[i][k] = w->cluster.links[k][i] = l;
		}
}

static void the_search_misses_at_most_2_percent(void **state)
{
	(void)state;
	uint64_t random = 23;
	double worst = 1;
	uint32_t n_exact = 0, n_possible = 0;
	for (int i = 0; i < 150; i++) {
		world w;
		evn_simulation s;
		random_world(&w, &random);
		const double best = fastest_of_all(&w);
		const evn_status status = evn_plan_simulate(&s, &w.in, NULL);
		if (best <= 0)
			continue;
		assert_int_equal(status, EVN_OK);
		const double found = fmax(s.cuts[EVN_SIM_ONE_NODE].together_tok_s, s.cuts[EVN_SIM_TENSOR].together_tok_s);
		worst = fmin(worst, found / best);
		n_exact += found >= best * (1 - 1e-9);
		n_possible++;
	}
	print_message("%u clusters, %u with the fastest set, worst %.4f\n", n_possible, n_exact, worst);
	assert_true(n_possible > 50);
	assert_true(worst >= 0.98);
}

/* On the devices of one machine it finds what the planner finds, which tries all sets. */
static void the_search_is_as_good_as_the_planner(void **state)
{
	(void)state;
	uint64_t random = 5;
	for (int i = 0; i < 60; i++) {
		llama m = random_model(&random);
		world w = {.cluster = {.n_nodes = 1, .nodes = {{.name = "n", .count = 1}}}};
		evn_sim_node *node = &w.cluster.nodes[0];
		evn_plan_candidate c[6] = {0};
		evn_choice chosen;
		m.n_layers = random_in(&random, 1, 6);
		describe_input(&w, &m);
		node->n_devices = random_in(&random, 1, 6);
		node->reduce_us = random_in(&random, 1, 100);
		for (uint32_t j = 0; j < node->n_devices; j++) {
			evn_sim_device *d = &node->devices[j];
			*d = device(1, random_in(&random, 1, 50), 0.001 * pow(2, random_in(&random, 2, 14)));
			d->block_us = random_in(&random, 0, 20);
			c[j] = (evn_plan_candidate){.name = "d",
										.id = "d",
										.rates = {.gemv_gbs = d->gbs,
												  .vocab_gbs = d->gbs,
												  .gemm_gflops = d->gflops,
												  .block_us = d->block_us,
												  .key_ns = w.in.key_flops / d->gflops,
												  .prompt_key_ns = w.in.key_flops / d->gflops},
										.memory_bytes = d->memory_bytes,
										.share = EVN_SHARE_AUTO,
										.prompt_share = EVN_SHARE_AUTO,
										.chip = -1};
		}
		const evn_reduce_cost cost = {node->reduce_us, node->reduce_us};
		if (evn_plan_choose(&chosen, &w.shape, c, node->n_devices, EVN_DECODE, cost, NULL) != EVN_OK)
			continue;
		const double found = simulate(&w).cuts[EVN_SIM_ONE_NODE].decode_tok_s;
		if (found < 0.98 * chosen.predicted.decode_tok_s)
			fail_msg("case %d: %.2f tokens/s, the planner has %.2f", i, found, chosen.predicted.decode_tok_s);
	}
}

/* ---- the size of clusters -------------------------------------------------------------------------------------- */

static llama large_model(void)
{
	llama m = {.n_layers = 80,
			   .dim = 8192,
			   .ff_dim = 28672,
			   .n_heads = 64,
			   .n_kv_heads = 8,
			   .head_dim = 128,
			   .vocab = 128256,
			   .ff_grain = 32,
			   .vocab_grain = 32,
			   .kv_cache_bytes = 4096 * 2 * 128 * 4,
			   .fixed_bytes = 400 * MIB};
	m.head_bytes = m.kv_head_bytes = (uint64_t)2 * 128 * 8192 * 18 / 32;
	m.ff_unit_bytes = (uint64_t)3 * 8192 * 18 / 32;
	m.vocab_row_bytes = (uint64_t)8192 * 18 / 32;
	return m;
}

static void ten_thousand_devices_take_seconds(void **state)
{
	(void)state;
	const llama m = large_model();
	world w = {.cluster = {.n_nodes = 2,
						   .texts = 256,
						   .nodes = {{"a", 500, 2, {device(8, 1000, 80), device(2, 100, 256)}, 20, 50},
									 {"b", 500, 2, {device(8, 500, 40), device(2, 100, 256)}, 20, 50}}}};
	describe_input(&w, &m);
	link_all(&w.cluster, 3, 400, 0.5);
	const clock_t began = clock();
	const evn_simulation s = simulate(&w);
	const double seconds = (double)(clock() - began) / CLOCKS_PER_SEC;
	for (evn_sim_cut cut = 0; cut < EVN_SIM_CUTS; cut++)
		assert_true(s.cuts[cut].possible);
	assert_true(seconds < 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_pipeline_fills_with_texts),
		cmocka_unit_test(what_one_node_cannot_hold_several_can),
		cmocka_unit_test(two_nodes_gain_by_the_rule_of_thumb),
		cmocka_unit_test(the_search_misses_at_most_2_percent),
		cmocka_unit_test(the_search_is_as_good_as_the_planner),
		cmocka_unit_test(ten_thousand_devices_take_seconds),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
