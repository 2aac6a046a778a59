/* gpt2.c - GPT-2 (Radford et al. 2019): learned positions, LayerNorm, GELU, a bias on every matrix. The rows of q, k
 * and v are in one tensor. */
#include "nn/graph.h"

static evn_status fill(evn_graph *g, evn_error *err)
{
	g->biased = true;
	g->out_norm = (evn_norm_spec){.kind = EVN_NORM_LAYER, .stem = "output_norm"};
	for (uint32_t layer = 0; layer < g->h->n_layers; layer++) {
		evn_block attention = evn_attention_block(g, layer), feed_forward = evn_feed_forward_block(g, layer);
		attention.norm.kind = feed_forward.norm.kind = EVN_NORM_LAYER;
		attention.in = (evn_stack){{"attn_qkv"}, 1};
		feed_forward.in = (evn_stack){{"ffn_up"}, 1};
		feed_forward.feed_forward.act = EVN_GELU;
		feed_forward.feed_forward.gated = false;
		EVN_TRY(evn_graph_add(g, &attention, err));
		EVN_TRY(evn_graph_add(g, &feed_forward, err));
	}
	return EVN_OK;
}

EVN_ARCH(gpt2) = {"gpt2", true, fill};
