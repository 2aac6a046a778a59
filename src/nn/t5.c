/* t5.c - T5 (Raffel et al. 2020): an encoder and a decoder, which attends to what the encoder says of a text. Nothing
 * rotates: scores, which are not scaled, have a bias by the distance of key and query. The first layer of each side
 * has the table for all layers of its side; keys in the memory have no distance. T5 1.1 has gated networks and a head
 * of its own. Where the head is the embedding, rows are scaled by dim^-1/2 before it. */
#include "nn/graph.h"

#include <math.h>

#define ENCODER "enc."
#define DECODER "dec."

/* How the two sides differ from each other and between models. */
typedef struct {
	uint32_t n_layers[2], n_buckets; /* encoder, decoder */
	bool gated;
} sizes;

static evn_block attention(const evn_graph *g, uint32_t layer, const char *side, const sizes *s)
{
	evn_block b = evn_attention_block(g, layer);
	b.side = side;
	b.out = "attn_o";
	b.attention.scale = 1;
	b.attention.bias = g->n_encoder ? DECODER "blk.0.attn_rel_b.weight" : ENCODER "blk.0.attn_rel_b.weight";
	b.attention.n_buckets = s->n_buckets;
	return b;
}

static evn_block cross_attention(const evn_graph *g, uint32_t layer, const char *side)
{
	evn_block b = evn_attention_block(g, layer);
	b.side = side;
	b.norm.stem = "cross_attn_norm";
	b.in = (evn_stack){{"cross_attn_q", "cross_attn_k", "cross_attn_v"}, 3};
	b.out = "cross_attn_o";
	b.attention.scale = 1;
	b.attention.crosses = true;
	return b;
}

static evn_block feed_forward(const evn_graph *g, uint32_t layer, const char *side, const sizes *s)
{
	evn_block b = evn_feed_forward_block(g, layer);
	b.side = side;
	b.feed_forward.act = EVN_GELU;
	if (!s->gated) {
		b.in = (evn_stack){{"ffn_up"}, 1};
		b.feed_forward.gated = false;
	}
	return b;
}

static evn_status add_layers(evn_graph *g, const char *side, uint32_t n_layers, const sizes *s, evn_error *err)
{
	for (uint32_t layer = 0; layer < n_layers; layer++) {
		evn_block own = attention(g, layer, side, s), network = feed_forward(g, layer, side, s);
		own.attention.whole = !g->n_encoder;
		EVN_TRY(evn_graph_add(g, &own, err));
		if (g->n_encoder) {
			const evn_block cross = cross_attention(g, layer, side);
			EVN_TRY(evn_graph_add(g, &cross, err));
		}
		EVN_TRY(evn_graph_add(g, &network, err));
	}
	return EVN_OK;
}

static evn_status check(const evn_graph *g, const sizes *s, evn_error *err)
{
	const char *name = evn_gguf_name(evn_model_gguf(g->model));
	if (s->n_buckets < 4 || s->n_buckets % 4 || s->n_buckets > 2 * EVN_BIAS_FARTHEST)
		return evn_fail(err, EVN_ERR_UNSUPPORTED,
						"%s: \"t5.attention.relative_buckets_count\" is %u, expected a multiple of 4, at most %u",
						name, s->n_buckets, 2 * EVN_BIAS_FARTHEST);
	if (s->n_layers[1] > evn_gguf_n_tensors(evn_model_gguf(g->model)))
		return evn_fail(err, EVN_ERR_FORMAT, "%s: \"t5.decoder_block_count\" is %u, expected at most one a tensor",
						name, s->n_layers[1]);
	return EVN_OK;
}

static evn_status fill(evn_graph *g, evn_error *err)
{
	uint32_t start = 0;
	sizes s = {.n_layers = {g->h->n_layers, g->h->n_layers}, .n_buckets = 32};
	EVN_TRY(evn_graph_u32(g, "decoder_block_count", &s.n_layers[1], err));
	EVN_TRY(evn_graph_u32(g, "attention.relative_buckets_count", &s.n_buckets, err));
	EVN_TRY(check(g, &s, err));
	evn_graph_ignore(g, "attention.layer_norm_epsilon"); /* files have it beside the other one */
	EVN_TRY(evn_graph_count(g, "decoder_start_token_id", &start, err));
	if (start >= g->h->vocab)
		return evn_fail(err, EVN_ERR_FORMAT, "%s: \"t5.decoder_start_token_id\" is %u, and the vocabulary has %u",
						evn_gguf_name(evn_model_gguf(g->model)), start, g->h->vocab);
	g->decoder_start = (int32_t)start;
	g->activation = EVN_RELU;
	s.gated = evn_model_find(g->model, ENCODER "blk.0.ffn_gate.weight") != NULL;
	EVN_TRY(add_layers(g, ENCODER, s.n_layers[0], &s, err));
	evn_graph_end_encoder(g, "enc.output_norm");
	EVN_TRY(add_layers(g, DECODER, s.n_layers[1], &s, err));
	g->out_norm = (evn_norm_spec){EVN_NORM_RMS, "dec.output_norm", EVN_OF_MODEL};
	if (!evn_model_find(g->model, "output.weight"))
		g->logit_scale = 1 / sqrtf((float)g->h->dim);
	return EVN_OK;
}

EVN_ARCH(t5) = {"t5", true, fill};
