/* llama.c - the Llama family (Touvron et al. 2023): RMS norms, rotary positions, a gated feed-forward network. Files
 * of Mistral, Mixtral and SmolLM use the name llama too; a file of this family with experts has them in every layer.
 * Qwen 2 has biases on q, k and v; Qwen 3 has norms on q and k. Mistral 3 stretches its context by YaRN and grows its
 * queries with their position. */
#include "nn/graph.h"

/* Adds the layers, with the two differences between the members of the family. Llama files store the q and k rows
 * permuted for pairs (2i, 2i + 1). */
static evn_status fill_family(evn_graph *g, bool rope_neox, bool qk_norm, evn_error *err)
{
	uint32_t n_experts;
	EVN_TRY(evn_graph_experts(g, &n_experts, err));
	g->out_norm = (evn_norm_spec){.kind = EVN_NORM_RMS, .stem = "output_norm"};
	for (uint32_t layer = 0; layer < g->h->n_layers; layer++) {
		evn_block attention = evn_attention_block(g, layer), feed_forward = evn_feed_forward_block(g, layer);
		if (n_experts)
			EVN_TRY(evn_experts_block(g, layer, &feed_forward, err));
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

/* The text side of a model for images. All sections of a rotation have a text's one position, so they need no care.
 */
static evn_status fill_qwen2vl(evn_graph *g, evn_error *err)
{
	evn_graph_ignore(g, "rope.dimension_sections");
	return fill_family(g, true, false, err);
}

static evn_status fill_qwen3vl(evn_graph *g, evn_error *err)
{
	evn_graph_ignore(g, "rope.dimension_sections");
	evn_graph_ignore(g, "n_deepstack_layers"); /* of images */
	return fill_family(g, true, true, err);
}

/* Queries are longer, the more often their position has passed the context before stretching. */
static evn_status fill_mistral3(evn_graph *g, evn_error *err)
{
	EVN_TRY(evn_graph_cap(g, "attention.temperature_scale", &g->ropes[0].query_growth, err));
	EVN_TRY(evn_graph_cap(g, "rope.scaling.yarn_log_multiplier", &g->ropes[0].log_multiplier, err));
	return fill_family(g, false, false, err);
}

EVN_ARCH(llama) = {"llama", true, fill_llama};
EVN_ARCH(qwen2) = {"qwen2", true, fill_qwen2};
EVN_ARCH(qwen3) = {"qwen3", true, fill_qwen3};
EVN_ARCH(qwen3moe) = {"qwen3moe", true, fill_qwen3};
EVN_ARCH(qwen2vl) = {"qwen2vl", true, fill_qwen2vl};
EVN_ARCH(qwen3vl) = {"qwen3vl", true, fill_qwen3vl};
EVN_ARCH(mistral3) = {"mistral3", true, fill_mistral3};
