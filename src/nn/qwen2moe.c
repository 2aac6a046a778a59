/* qwen2moe.c - Qwen 2 with experts (Qwen Team 2024): the weights of a row's experts are their probabilities, and
 * every row also goes through a shared expert. */
#include "nn/graph.h"

static evn_status fill(evn_graph *g, evn_error *err)
{
	evn_block experts, shared;
	g->out_norm = (evn_norm_spec){.kind = EVN_NORM_RMS, .stem = "output_norm"};
	for (uint32_t layer = 0; layer < g->h->n_layers; layer++) {
		evn_block attention = evn_attention_block(g, layer);
		attention.attention.rope_neox = true;
		EVN_TRY(evn_experts_block(g, layer, &experts, err));
		EVN_TRY(evn_shared_expert_block(g, layer, &shared, err));
		experts.feed_forward.experts.normed = false;
		EVN_TRY(evn_graph_add(g, &attention, err));
		EVN_TRY(evn_graph_add(g, &experts, err));
		EVN_TRY(evn_graph_add(g, &shared, err));
	}
	return EVN_OK;
}

EVN_ARCH(qwen2moe) = {"qwen2moe", true, fill};
