/* gpt_oss.c - gpt-oss (OpenAI 2025): experts with biases and a clamped SwiGLU, heads with sinks, and a window in
 * every second layer, the first one included. */
#include "nn/graph.h"

static evn_status fill(evn_graph *g, evn_error *err)
{
	evn_windows w;
	g->out_norm = (evn_norm_spec){.kind = EVN_NORM_RMS, .stem = "output_norm"};
	g->ropes[0].exact_ramp = true;
	EVN_TRY(evn_graph_windows(g, 2, &w, err));
	for (uint32_t layer = 0; layer < g->h->n_layers; layer++) {
		evn_block attention = evn_attention_block(g, layer), experts;
		EVN_TRY(evn_experts_block(g, layer, &experts, err));
		attention.attention.rope_neox = true;
		attention.attention.sinks = true;
		attention.attention.window = evn_windowed(&w, layer) ? w.window : 0;
		experts.norm.stem = "post_attention_norm";
		experts.feed_forward.act = EVN_CLAMPED;
		EVN_TRY(evn_graph_add(g, &attention, err));
		EVN_TRY(evn_graph_add(g, &experts, err));
	}
	return EVN_OK;
}

EVN_ARCH(gpt_oss) = {"gpt-oss", true, fill};
