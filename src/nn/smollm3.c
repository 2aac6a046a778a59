/* smollm3.c - SmolLM 3: the Llama family, but every fourth layer does not rotate its queries and keys (NoPE; Yang et
 * al. 2025, "RoPE to NoRoPE and back again"). */
#include "nn/graph.h"

static evn_status fill(evn_graph *g, evn_error *err)
{
	g->out_norm = (evn_norm_spec){.kind = EVN_NORM_RMS, .stem = "output_norm"};
	for (uint32_t layer = 0; layer < g->h->n_layers; layer++) {
		evn_block attention = evn_attention_block(g, layer), feed_forward = evn_feed_forward_block(g, layer);
		attention.attention.rotates = (layer + 1) % 4 != 0;
		EVN_TRY(evn_graph_add(g, &attention, err));
		EVN_TRY(evn_graph_add(g, &feed_forward, err));
	}
	return EVN_OK;
}

EVN_ARCH(smollm3) = {"smollm3", true, fill};
