/* gemma.c - Gemma 2 and 3 (Google): norms before and after each block, GELU gates, an embedding that is multiplied by
 * sqrt(dim), and layers that see a window of the newest keys. Gemma 2 caps scores and logits. Gemma 3 has norms of
 * queries and keys, and rotates the layers with windows by another base, without scaling. */
#include <math.h>

#include "nn/graph.h"

/* The largest model of each generation divides scores by sqrt(dim / heads). The files do not say it. */
static float score_scale(const evn_hparams *h, uint32_t layers_of_largest)
{
	const float width = h->n_layers == layers_of_largest ? (float)h->dim / (float)h->n_heads : (float)h->head_dim;
	return 1 / sqrtf(width);
}

static evn_status add_layers(evn_graph *g, evn_block attention, const evn_windows *w, evn_error *err)
{
	evn_block feed_forward = evn_feed_forward_block(g, 0);
	attention.attention.rope_neox = true;
	attention.post = "post_attention_norm";
	feed_forward.post = "post_ffw_norm";
	feed_forward.feed_forward.act = EVN_GELU;
	for (uint32_t layer = 0; layer < g->h->n_layers; layer++) {
		const bool windowed = evn_windowed(w, layer);
		attention.layer = feed_forward.layer = layer;
		attention.attention.window = windowed ? w->window : 0;
		attention.attention.rope = windowed ? g->n_ropes - 1 : 0;
		EVN_TRY(evn_graph_add(g, &attention, err));
		EVN_TRY(evn_graph_add(g, &feed_forward, err));
	}
	return EVN_OK;
}

static void fill_ends(evn_graph *g)
{
	g->out_norm = (evn_norm_spec){.kind = EVN_NORM_RMS, .stem = "output_norm"};
	g->embedding_scale = sqrtf((float)g->h->dim);
}

static evn_status fill_gemma2(evn_graph *g, evn_error *err)
{
	evn_block attention = evn_attention_block(g, 0);
	evn_windows w;
	fill_ends(g);
	attention.attention.scale = score_scale(g->h, 46);
	attention.attention.soft_cap = 50;
	g->logit_cap = 30;
	EVN_TRY(evn_graph_cap(g, "attn_logit_softcapping", &attention.attention.soft_cap, err));
	EVN_TRY(evn_graph_cap(g, "final_logit_softcapping", &g->logit_cap, err));
	EVN_TRY(evn_graph_windows(g, 2, &w, err));
	return add_layers(g, attention, &w, err);
}

static evn_status fill_gemma3(evn_graph *g, evn_error *err)
{
	evn_block attention = evn_attention_block(g, 0);
	evn_windows w;
	fill_ends(g);
	attention.attention.scale = score_scale(g->h, 62);
	attention.attention.qk_norm = true;
	EVN_TRY(evn_graph_cap(g, "final_logit_softcapping", &g->logit_cap, err));
	EVN_TRY(evn_graph_windows(g, 6, &w, err));
	g->n_ropes = 2;
	g->ropes[1] = evn_rope_plain(&g->ropes[0]);
	g->ropes[1].base = 10000;
	EVN_TRY(evn_graph_f32(g, "rope.freq_base_swa", &g->ropes[1].base, err));
	return add_layers(g, attention, &w, err);
}

EVN_ARCH(gemma2) = {"gemma2", true, fill_gemma2};
EVN_ARCH(gemma3) = {"gemma3", true, fill_gemma3};
