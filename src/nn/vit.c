/* vit.c - the Vision Transformer (Dosovitskiy et al. 2021): an encoder of images. An image is cut into patches; a
 * matrix makes a row of each, to which the row of its place is added, and a row for the class may stand before them.
 * Then come the blocks of an encoder, with norms before them. Such a model has no tokens: what other models know as
 * the vocabulary are the places. */
#include "nn/graph.h"

static evn_status find_preparation(evn_graph *g, evn_error *err)
{
	evn_patches *p = &g->patches;
	uint32_t resample = 2; /* as Pillow counts */
	const uint32_t size = p->across * p->side;
	for (uint32_t i = 0; i < EVN_COLOURS; i++)
		p->mean[i] = p->deviation[i] = 0.5f;
	EVN_TRY(evn_graph_f32s(g, "image_mean", EVN_COLOURS, -1e6f, p->mean, err));
	EVN_TRY(evn_graph_f32s(g, "image_std", EVN_COLOURS, 0, p->deviation, err));
	EVN_TRY(evn_graph_count(g, "image_edge", &p->edge, err));
	EVN_TRY(evn_graph_count(g, "image_resample", &resample, err));
	p->bicubic = resample == 3;
	if ((resample == 2 || resample == 3) && (!p->edge || (p->edge >= size && p->edge <= EVN_MOST_EDGE)))
		return EVN_OK;
	return evn_fail(
		err, EVN_ERR_FORMAT,
		"%s: \"image_resample\" is %u and \"image_edge\" %u, expected 2 (bilinear) or 3 (bicubic), and 0 or "
		"%u to %u",
		evn_gguf_name(evn_model_gguf(g->model)), resample, p->edge, size, EVN_MOST_EDGE);
}

static evn_status find_patches(evn_graph *g, evn_error *err)
{
	uint32_t size = 0, patch = 0;
	const char *name = evn_gguf_name(evn_model_gguf(g->model));
	EVN_TRY(evn_graph_u32(g, "image_size", &size, err));
	EVN_TRY(evn_graph_u32(g, "patch_size", &patch, err));
	if (patch > EVN_MOST_PATCH || size > EVN_MOST_IMAGE || size % patch)
		return evn_fail(err, EVN_ERR_FORMAT,
						"%s: images of %u pixels and patches of %u, expected a whole number of patches of at most %u "
						"pixels, and images of at most %u",
						name, size, patch, EVN_MOST_PATCH, EVN_MOST_IMAGE);
	g->patches = (evn_patches){.across = size / patch,
							   .side = patch,
							   .floats = EVN_COLOURS * patch * patch,
							   .class_row = evn_model_find(g->model, EVN_CLASS_ROW) != NULL};
	EVN_TRY(find_preparation(g, err));
	g->projection = EVN_PATCH_MATRIX;
	const uint32_t n = evn_patch_rows(&g->patches);
	if (n != g->h->vocab)
		return evn_fail(err, EVN_ERR_FORMAT, "%s: tensor \"%s\" has %u rows, expected %u", name, EVN_PLACES,
						g->h->vocab, n);
	return EVN_OK;
}

static evn_status find_activation(evn_graph *g, evn_error *err)
{
	evn_str name = {"gelu", 4};
	EVN_TRY(evn_graph_string(g, "activation", &name, err));
	g->activation = evn_str_is(name, "gelu") ? EVN_BY_ERF : EVN_BY_TANH;
	if (g->activation == EVN_BY_ERF || evn_str_is(name, "gelu_tanh"))
		return EVN_OK;
	return evn_fail(err, EVN_ERR_UNSUPPORTED, "%s: the activation is \"%.*s\", expected gelu or gelu_tanh",
					evn_gguf_name(evn_model_gguf(g->model)), (int)(name.length < 40 ? name.length : 40), name.text);
}

static evn_status fill(evn_graph *g, evn_error *err)
{
	g->biased = true;
	g->out_norm = (evn_norm_spec){.kind = EVN_NORM_LAYER, .stem = "v.post_ln"};
	EVN_TRY(find_patches(g, err));
	EVN_TRY(find_activation(g, err));
	for (uint32_t layer = 0; layer < g->h->n_layers; layer++) {
		evn_block attention = evn_attention_block(g, layer), feed_forward = evn_feed_forward_block(g, layer);
		attention.side = feed_forward.side = "v.";
		attention.norm = (evn_norm_spec){.kind = EVN_NORM_LAYER, .stem = "ln1"};
		attention.out = "attn_out";
		attention.attention.whole = true;
		feed_forward.norm = (evn_norm_spec){.kind = EVN_NORM_LAYER, .stem = "ln2"};
		feed_forward.in = (evn_stack){{"ffn_up"}, 1};
		feed_forward.feed_forward.act = EVN_GELU;
		feed_forward.feed_forward.gated = false;
		EVN_TRY(evn_graph_add(g, &attention, err));
		EVN_TRY(evn_graph_add(g, &feed_forward, err));
	}
	return EVN_OK;
}

EVN_ARCH(vit) = {"vit", true, fill};
