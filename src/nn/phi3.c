/* phi3.c - Phi 3 and 4 (Microsoft): the Llama family with other pairs of rotated elements. Some of its models see a
 * window in every layer. */
#include "nn/graph.h"

static evn_status fill(evn_graph *g, evn_error *err)
{
	evn_windows w;
	g->out_norm = (evn_norm_spec){.kind = EVN_NORM_RMS, .stem = "output_norm"};
	EVN_TRY(evn_graph_windows(g, 0, &w, err));
	for (uint32_t layer = 0; layer < g->h->n_layers; layer++) {
		evn_block attention = evn_attention_block(g, layer), feed_forward = evn_feed_forward_block(g, layer);
		attention.attention.rope_neox = true;
		attention.attention.window = evn_windowed(&w, layer) ? w.window : 0;
		EVN_TRY(evn_graph_add(g, &attention, err));
		EVN_TRY(evn_graph_add(g, &feed_forward, err));
	}
	return EVN_OK;
}

EVN_ARCH(phi3) = {"phi3", true, fill};
