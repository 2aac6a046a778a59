/* gemma4.c - Gemma 4 (Google 2026): Gemma 3's norms and gates. Layers with a window have heads of another size, and
 * another number of KV heads, than layers that see everything. Scores are not scaled, because the norms of queries
 * and keys do it; values have a norm without weights. Layers without a matrix of values take the keys before their
 * norm. The result of each layer is multiplied by a number. Models with experts have them beside a dense network.
 *
 * E models have a third block in each layer, a small network whose units are multiplied by inputs of the layer by the
 * token, and their last layers have queries only: they share keys and values with the last layer of their kind that
 * has its own. */
#include <math.h>

#include "nn/graph.h"

/* The shape of a layer's heads, and how they rotate. */
typedef struct {
	uint32_t head_dim, rope;
} heads;

/* Heads of layers with a window have sizes and a base of their own, and do not stretch their context. */
static evn_status find_heads(evn_graph *g, heads *windowed, evn_error *err)
{
	uint32_t dim = g->h->head_dim, value_dim, rope_dim;
	EVN_TRY(evn_graph_layer_u32(g, "attention.key_length_swa", 0, &dim, err));
	value_dim = rope_dim = dim;
	EVN_TRY(evn_graph_layer_u32(g, "attention.value_length_swa", 0, &value_dim, err));
	EVN_TRY(evn_graph_layer_u32(g, "rope.dimension_count_swa", 0, &rope_dim, err));
	if (value_dim != dim || rope_dim > dim || rope_dim % 2 || dim > g->h->head_dim)
		return evn_fail(err, EVN_ERR_UNSUPPORTED,
						"%s: heads of layers with a window have %u dimensions, of values %u, of which %u rotate; "
						"expected equal ones, at most %u, of which an even number rotates",
						evn_gguf_name(evn_model_gguf(g->model)), dim, value_dim, rope_dim, g->h->head_dim);
	g->n_ropes = 2;
	g->ropes[1] = evn_rope_plain(&g->ropes[0]);
	g->ropes[1].dim = rope_dim;
	g->ropes[1].base = 10000;
	*windowed = (heads){dim, 1};
	return evn_graph_f32(g, "rope.freq_base_swa", &g->ropes[1].base, err);
}

/* The attention block of the last layer below `end` with this window. */
static evn_status find_keys(const evn_graph *g, uint32_t end, uint32_t window, uint32_t *out, evn_error *err)
{
	for (uint32_t i = g->n_blocks; i-- > 0;) {
		const evn_block *b = &g->blocks[i];
		if (b->kind != EVN_BLOCK_ATTENTION || b->layer >= end || b->attention.window != window)
			continue;
		*out = i;
		return EVN_OK;
	}
	return evn_fail(err, EVN_ERR_FORMAT,
					"%s: the layers from %u on share keys and values with a layer %s a window, "
					"expected one before them",
					evn_gguf_name(evn_model_gguf(g->model)), end, window ? "with" : "without");
}

/* The block has queries only. */
static evn_status share_keys(evn_graph *g, evn_block *b, uint32_t end, evn_error *err)
{
	EVN_TRY(find_keys(g, end, b->attention.window, &b->attention.keys_of, err));
	b->group = g->blocks[b->attention.keys_of].group;
	b->attention.shares = true;
	b->in.n = 1;
	return evn_graph_add(g, b, err);
}

/* n_own: the layers with keys and values of their own. */
static evn_status add_attention(evn_graph *g, uint32_t layer, uint32_t n_own, heads of, uint32_t window,
								evn_error *err)
{
	evn_block b = evn_attention_block(g, layer);
	const evn_tensor *t;
	uint32_t n_kv = g->h->n_heads;
	EVN_TRY(evn_graph_layer_u32(g, "attention.head_count_kv", layer, &n_kv, err));
	b.group = b.n_units / n_kv;
	b.unit_width = of.head_dim;
	b.post = "post_attention_norm";
	b.attention.head_dim = of.head_dim;
	b.attention.rope = of.rope;
	b.attention.rope_neox = true;
	b.attention.qk_norm = b.attention.v_norm = true;
	b.attention.scale = 1;
	b.attention.window = window;
	if (layer >= n_own)
		return share_keys(g, &b, n_own, err);
	b.attention.v_is_k = evn_block_tensor(g, &b, "attn_k", &t, NULL) == EVN_OK &&
						 evn_block_tensor(g, &b, "attn_v", &t, NULL) != EVN_OK;
	if (b.attention.v_is_k)
		b.in.n = 2;
	return evn_graph_add(g, &b, err);
}

/* A dense network and experts beside it, which read the same rows. */
static evn_status add_experts(evn_graph *g, evn_block *dense, evn_error *err)
{
	evn_block b;
	EVN_TRY(evn_experts_block(g, dense->layer, &b, err));
	dense->to = EVN_ASIDE_FIRST;
	dense->post = "post_ffw_norm_1";
	b.norm.stem = "pre_ffw_norm_2";
	b.in = (evn_stack){{"ffn_gate_up_exps"}, 1};
	b.to = EVN_ASIDE_LAST;
	b.post = "post_ffw_norm_2";
	b.joint = "post_ffw_norm";
	b.feed_forward.act = EVN_GELU;
	b.feed_forward.experts.scales = true;
	EVN_TRY(evn_block_scale_layer(g, &b, "layer_output_scale", err));
	EVN_TRY(evn_graph_add(g, dense, err));
	return evn_graph_add(g, &b, err);
}

/* A network that reads the rows themselves, with a unit for each input of the layer. */
static evn_status add_layer_input(evn_graph *g, uint32_t layer, evn_error *err)
{
	evn_block b = evn_feed_forward_block(g, layer);
	b.n_units = g->layer_inputs;
	b.norm = (evn_norm_spec){.kind = EVN_NORM_NONE};
	b.in = (evn_stack){{"inp_gate"}, 1};
	b.out = "proj";
	b.post = "post_norm";
	b.feed_forward.act = EVN_GELU;
	b.feed_forward.gated = false;
	b.feed_forward.by_layer = true;
	EVN_TRY(evn_block_scale_layer(g, &b, "layer_output_scale", err));
	return evn_graph_add(g, &b, err);
}

static evn_status add_feed_forward(evn_graph *g, uint32_t layer, evn_error *err)
{
	evn_block b = evn_feed_forward_block(g, layer);
	uint32_t n_experts;
	EVN_TRY(evn_graph_layer_u32(g, "feed_forward_length", layer, &b.n_units, err));
	EVN_TRY(evn_graph_experts(g, &n_experts, err));
	if (n_experts && g->layer_inputs)
		return evn_fail(err, EVN_ERR_UNSUPPORTED,
						"%s: a gemma4 model with %u experts and inputs of layers, expected one of them",
						evn_gguf_name(evn_model_gguf(g->model)), n_experts);
	b.post = "post_ffw_norm";
	b.feed_forward.act = EVN_GELU;
	if (n_experts)
		return add_experts(g, &b, err);
	if (!g->layer_inputs)
		EVN_TRY(evn_block_scale_layer(g, &b, "layer_output_scale", err));
	EVN_TRY(evn_graph_add(g, &b, err));
	return g->layer_inputs ? add_layer_input(g, layer, err) : EVN_OK;
}

static evn_status fill_gemma4(evn_graph *g, evn_error *err)
{
	const heads full = {g->h->head_dim, 0};
	heads windowed = full;
	evn_windows w;
	uint32_t n_shared = 0;
	EVN_TRY(evn_graph_count(g, "embedding_length_per_layer_input", &g->layer_inputs, err));
	EVN_TRY(evn_graph_count(g, "attention.shared_kv_layers", &n_shared, err));
	g->projection = g->layer_inputs ? EVN_LAYER_PROJECTION : NULL;
	if (n_shared >= g->h->n_layers || g->layer_inputs > g->h->dim)
		return evn_fail(
			err, EVN_ERR_FORMAT,
			"%s: %u of %u layers share keys and values, and %u inputs of each layer; expected fewer, and at "
			"most %u",
			evn_gguf_name(evn_model_gguf(g->model)), n_shared, g->h->n_layers, g->layer_inputs, g->h->dim);
	g->out_norm = (evn_norm_spec){.kind = EVN_NORM_RMS, .stem = "output_norm"};
	g->embedding_scale = sqrtf((float)g->h->dim);
	EVN_TRY(evn_graph_cap(g, "final_logit_softcapping", &g->logit_cap, err));
	EVN_TRY(evn_graph_windows(g, 6, &w, err));
	EVN_TRY(find_heads(g, &windowed, err));
	for (uint32_t layer = 0; layer < g->h->n_layers; layer++) {
		const bool sees_window = evn_windowed(&w, layer);
		EVN_TRY(add_attention(g, layer, g->h->n_layers - n_shared, sees_window ? windowed : full,
							  sees_window ? w.window : 0, err));
		EVN_TRY(add_feed_forward(g, layer, err));
	}
	return EVN_OK;
}

EVN_ARCH(gemma4) = {"gemma4", true, fill_gemma4};
