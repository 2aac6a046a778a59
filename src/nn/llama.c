/* llama.c - the Llama family (Touvron et al. 2023): RMS norms, rotary positions, a gated feed-forward network. Files
 * of Mistral and SmolLM use the name llama too. Qwen 2 has biases on q, k and v; Qwen 3 has norms on q and k. */
#include "nn/graph.h"

/* Adds the layers, with the two differences between the members of the family. Llama files store the q and k rows
 * permuted for pairs (2i, 2i + 1). */
static evn_status fill_family(evn_graph *g, bool rope_neox, bool qk_norm, evn_error *err)
{
	g->out_norm = (evn_norm_spec){EVN_NORM_RMS, "output_norm"};
	for (uint32_t layer = 0; layer < g->h->n_layers; layer++) {
		evn_block attention = evn_attention_block(g, layer), feed_forward = evn_feed_forward_block(g, layer);
		attention.attention.rope_neox = rope_neox;
		attention.attention.qk_norm = qk_norm;
		EVN_TRY(evn_graph_add(g, &attention, err));
		EVN_TRY(evn_graph_add(g, &feed_forward, err));
	}
	return EVN_OK;
}

static evn_status fill_llama(evn_graph *g, evn_error *err) { return fill_family(g, false, false, err); }
static evn_status fill_qwen2(evn_graph *g, evn_error *err) { return fill_family(g, true, false, err); }
static evn_status fill_qwen3(evn_graph *g, evn_error *err) { return fill_family(g, true, true, err); }

EVN_ARCH(llama) = {"llama", true, fill_llama};
EVN_ARCH(qwen2) = {"qwen2", true, fill_qwen2};
EVN_ARCH(qwen3) = {"qwen3", true, fill_qwen3};
