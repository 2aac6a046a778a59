/* bert.c - BERT (Devlin et al. 2019) and nomic-bert: encoders. A query sees the whole sequence. Positions are
 * learned, and a row is added for the type of a token. The sum of a block and its input is normed, and the norm is
 * what the next block reads and adds to. So each norm stands before the block that reads it, and takes the place of
 * the row; the last one is that of the output. Nomic's rotates queries and keys instead of learning positions, has
 * gated networks, and biases of norms only. */
#include "nn/graph.h"

static evn_status fill(evn_graph *g, bool gated, evn_error *err)
{
	bool causal = true;
	EVN_TRY(evn_graph_bool(g, "attention.causal", &causal, err));
	if (causal)
		return evn_fail(err, EVN_ERR_UNSUPPORTED, "%s: \"attention.causal\" is not false, expected an encoder",
						evn_gguf_name(evn_model_gguf(g->model)));
	g->biased = !gated;
	g->activation = EVN_BY_ERF;
	g->out_norm = (evn_norm_spec){EVN_NORM_LAYER, "layer_output_norm", EVN_OF_LAYER_BEFORE};
	for (uint32_t layer = 0; layer < g->h->n_layers; layer++) {
		evn_block attention = evn_attention_block(g, layer), feed_forward = evn_feed_forward_block(g, layer);
		attention.norm = layer ? (evn_norm_spec){EVN_NORM_REPLACE, "layer_output_norm", EVN_OF_LAYER_BEFORE}
							   : (evn_norm_spec){EVN_NORM_REPLACE, "token_embd_norm", EVN_OF_MODEL};
		attention.attention.whole = attention.attention.rope_neox = true;
		feed_forward.norm = (evn_norm_spec){EVN_NORM_REPLACE, "attn_output_norm", EVN_OF_BLOCK};
		if (!gated) {
			feed_forward.in = (evn_stack){{"ffn_up"}, 1};
			feed_forward.feed_forward.act = EVN_GELU;
			feed_forward.feed_forward.gated = false;
		}
		EVN_TRY(evn_graph_add(g, &attention, err));
		EVN_TRY(evn_graph_add(g, &feed_forward, err));
	}
	return EVN_OK;
}

static evn_status fill_bert(evn_graph *g, evn_error *err) { return fill(g, false, err); }
static evn_status fill_nomic(evn_graph *g, evn_error *err) { return fill(g, true, err); }

EVN_ARCH(bert) = {"bert", true, fill_bert};
EVN_ARCH(nomic_bert) = {"nomic-bert", true, fill_nomic};
