/* granite.c - Granite 3 (IBM): the Llama family with four scales: of the embedding, of what each block adds to the
 * residual, of query times key (instead of 1 / sqrt(head_dim)), and of the logits, which are divided by theirs. */
#include "nn/graph.h"

static evn_status fill(evn_graph *g, evn_error *err)
{
	float residual_scale = 1, logit_scale = 1;
	g->out_norm = (evn_norm_spec){.kind = EVN_NORM_RMS, .stem = "output_norm"};
	EVN_TRY(evn_graph_f32(g, "embedding_scale", &g->embedding_scale, err));
	EVN_TRY(evn_graph_f32(g, "residual_scale", &residual_scale, err));
	EVN_TRY(evn_graph_f32(g, "logit_scale", &logit_scale, err));
	g->logit_scale = 1 / logit_scale;
	for (uint32_t layer = 0; layer < g->h->n_layers; layer++) {
		evn_block attention = evn_attention_block(g, layer), feed_forward = evn_feed_forward_block(g, layer);
		EVN_TRY(evn_graph_f32(g, "attention.scale", &attention.attention.scale, err));
		attention.residual_scale = feed_forward.residual_scale = residual_scale;
		EVN_TRY(evn_graph_add(g, &attention, err));
		EVN_TRY(evn_graph_add(g, &feed_forward, err));
	}
	return EVN_OK;
}

EVN_ARCH(granite) = {"granite", true, fill};
