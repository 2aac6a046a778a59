/* simulate.c - checks a described cluster, and hands the model's shape to the simulator (plan/simulate.h). */
#include "plan/simulate.h"

#include <math.h>

#include "engine/prepare.h"

static bool is_above(double value, double least) { return isfinite(value) && value > least; }

static evn_status check_device(const evn_sim_node *node, const evn_sim_device *d, evn_error *err)
{
	if (!d->count || !d->memory_bytes || !is_above(d->gbs, 0) || !is_above(d->gflops, 0))
		return evn_fail(err, EVN_ERR_USAGE,
						"device %s of node %s: expected a count, memory, GB/s and GFLOP/s above 0, found %u, %llu "
						"bytes, %g and %g",
						d->name, node->name, d->count, (unsigned long long)d->memory_bytes, d->gbs, d->gflops);
	if (!is_above(d->block_us, -1e-9) || !is_above(d->row_us, -1e-9))
		return evn_fail(err, EVN_ERR_USAGE, "device %s of node %s: expected times of at least 0, found %g and %g us",
						d->name, node->name, d->block_us, d->row_us);
	return EVN_OK;
}

static evn_status check_node(const evn_sim_node *n, evn_error *err)
{
	if (!n->count || n->n_devices < 1 || n->n_devices > EVN_SIM_DEVICES)
		return evn_fail(err, EVN_ERR_USAGE,
						"node %s: expected a count above 0 and 1 to %d kinds of devices, found %u and %u", n->name,
						EVN_SIM_DEVICES, n->count, n->n_devices);
	if (!is_above(n->reduce_us, -1e-9) || !is_above(n->reduce_gbs, -1e-9))
		return evn_fail(err, EVN_ERR_USAGE, "node %s: expected reductions of at least 0, found %g us and %g GB/s",
						n->name, n->reduce_us, n->reduce_gbs);
	for (uint32_t j = 0; j < n->n_devices; j++)
		EVN_TRY(check_device(n, &n->devices[j], err));
	return EVN_OK;
}

static evn_status check_link(const evn_sim_cluster *c, uint32_t i, uint32_t k, evn_error *err)
{
	const evn_sim_link *l = &c->links[i][k];
	if (is_above(l->gbit_s, 0) && is_above(l->latency_us, -1e-9) && is_above(l->message_us, -1e-9))
		return EVN_OK;
	return evn_fail(err, EVN_ERR_USAGE,
					"link of %s and %s: expected Gbit/s above 0 and times of at least 0, found %g, %g and %g us",
					c->nodes[i].name, c->nodes[k].name, l->gbit_s, l->latency_us, l->message_us);
}

static evn_status check_cluster(const evn_sim_cluster *c, evn_error *err)
{
	double n_devices = 0;
	if (c->n_nodes < 1 || c->n_nodes > EVN_SIM_NODES)
		return evn_fail(err, EVN_ERR_USAGE, "cluster: expected 1 to %d kinds of nodes, found %u", EVN_SIM_NODES,
						c->n_nodes);
	for (uint32_t i = 0; i < c->n_nodes; i++) {
		EVN_TRY(check_node(&c->nodes[i], err));
		for (uint32_t k = 0; k <= i && (i || c->nodes[i].count > 1); k++)
			EVN_TRY(check_link(c, i, k, err));
		for (uint32_t j = 0; j < c->nodes[i].n_devices; j++)
			n_devices += (double)c->nodes[i].count * c->nodes[i].devices[j].count;
	}
	if (n_devices > EVN_SIM_RANKS)
		return evn_fail(err, EVN_ERR_USAGE, "cluster: expected at most %d devices, found %.0f", EVN_SIM_RANKS,
						n_devices);
	return EVN_OK;
}

_Static_assert(EVN_SIM_RANKS <= EVN_PLAN_MAX_RANKS, "every device can be a rank");

evn_status evn_simulate(evn_simulation *out, const evn_sim_cluster *c, const evn_model *m, const evn_options *o,
						evn_error *err)
{
	evn_prepared p = {0};
	*out = (evn_simulation){0};
	EVN_TRY(check_cluster(c, err));
	evn_status s = evn_prepare_shape(&p, m, o, err);
	if (s == EVN_OK && p.graph->encodes)
		s = evn_fail(err, EVN_ERR_UNSUPPORTED, "an encoder writes no text: simulations are for decoders");
	if (s == EVN_OK) {
		const uint64_t row = evn_round_up(p.graph->h->dim, EVN_PAD);
		const evn_sim_input in = {
			.shape = &p.shape,
			.cluster = c,
			.key_flops = 4.0 * p.graph->h->head_dim, /* of its product with a query, and of the weighted value */
			.row_bytes = (double)evn_comm_message_bytes(EVN_MESSAGES_F32, row),
			.prompt_bytes = (double)evn_comm_message_bytes(p.limits.messages, row * EVN_PLAN_PROMPT)};
		s = evn_plan_simulate(out, &in, err);
	}
	evn_graph_free(p.graph);
	return s;
}
