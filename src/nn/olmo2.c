/* olmo2.c - OLMo 2 and 3 (Ai2): no norms before blocks, but of what they add; queries and keys are normed over all
 * heads together. In OLMo 3 three of four layers see a window and rotate without scaling. */
#include "nn/graph.h"

static evn_status fill(evn_graph *g, evn_error *err)
{
	evn_windows w;
	g->out_norm = (evn_norm_spec){.kind = EVN_NORM_RMS, .stem = "output_norm"};
	EVN_TRY(evn_graph_windows(g, 4, &w, err));
	g->n_ropes = 2;
	g->ropes[1] = evn_rope_plain(&g->ropes[0]);
	for (uint32_t layer = 0; layer < g->h->n_layers; layer++) {
		evn_block attention = evn_attention_block(g, layer), feed_forward = evn_feed_forward_block(g, layer);
		attention.norm = feed_forward.norm = (evn_norm_spec){.kind = EVN_NORM_NONE, .stem = NULL};
		attention.post = "post_attention_norm";
		feed_forward.post = "post_ffw_norm";
		attention.attention.rope_neox = true;
		attention.attention.qk_norm_all = true;
		attention.attention.window = evn_windowed(&w, layer) ? w.window : 0;
		attention.attention.rope = attention.attention.window > 0;
		EVN_TRY(evn_graph_add(g, &attention, err));
		EVN_TRY(evn_graph_add(g, &feed_forward, err));
	}
	return EVN_OK;
}

EVN_ARCH(olmo2) = {"olmo2", true, fill};
