/* embed.c - computes input rows on the host, because a row costs less than a launch. See embed.h. */
#include "nn/embed.h"

#include <math.h>

#include "nn/weights.h"

evn_status evn_embedding_find(evn_embedding *out, const evn_graph *g, evn_error *err)
{
	evn_end_weights w;
	EVN_TRY(evn_end_weights_find(&w, g, err));
	*out = (evn_embedding){.tokens = w.tokens,
						   .positions = w.positions,
						   .types = w.types,
						   .layers = w.layer_tokens,
						   .stride = evn_graph_row_floats(g),
						   .layers_at = evn_graph_layer_column(g, 0),
						   .layer_scale = sqrtf((float)g->layer_inputs),
						   .dim = g->h->dim,
						   .n_positions = UINT32_MAX,
						   .scale = g->embedding_scale,
						   .patches = g->patches,
						   .patch_bias = w.patch_bias,
						   .class_row = w.class_row};
	if (w.positions && w.positions->shape[1] < UINT32_MAX)
		out->n_positions = (uint32_t)w.positions->shape[1];
	if (g->patches.floats)
		out->n_positions = g->h->vocab;
	return EVN_OK;
}

static evn_status add(const evn_embedding *e, const evn_tensor *rows, uint64_t index, float *row, float *scratch,
					  evn_error *err)
{
	EVN_TRY(evn_tensor_rows(rows, index, 1, scratch, err));
	for (uint32_t i = 0; i < e->dim; i++)
		row[i] += scratch[i];
	return EVN_OK;
}

static evn_status add_layers(const evn_embedding *e, int32_t id, float *row, evn_error *err)
{
	EVN_TRY(evn_tensor_rows(e->layers, (uint64_t)id, 1, row, err));
	for (uint64_t i = 0; i < e->layers->shape[0]; i++)
		row[i] *= e->layer_scale;
	return EVN_OK;
}

evn_status evn_embed(const evn_embedding *e, const int32_t *ids, uint32_t n, uint32_t position, float *rows,
					 uint32_t stride, float *scratch, evn_error *err)
{
	for (uint32_t t = 0; t < n; t++) {
		float *row = rows + (uint64_t)t * stride;
		EVN_TRY(evn_tensor_rows(e->tokens, (uint64_t)ids[t], 1, row, err));
		if (e->positions)
			EVN_TRY(add(e, e->positions, (uint64_t)position + t, row, scratch, err));
		if (e->types)
			EVN_TRY(add(e, e->types, 0, row, scratch, err));
		for (uint32_t i = 0; i < e->dim && e->scale != 1; i++)
			row[i] *= e->scale;
		if (e->layers)
			EVN_TRY(add_layers(e, ids[t], row + e->layers_at, err));
	}
	return EVN_OK;
}

/* A patch as the columns of its matrix have it: colour by colour, row by row. */
static void unfold(const evn_patches *p, const uint8_t *rgb, uint32_t row, uint32_t column, float *out)
{
	const size_t width = (size_t)p->across * p->side;
	for (uint32_t c = 0; c < EVN_COLOURS; c++)
		for (uint32_t y = 0; y < p->side; y++) {
			const uint8_t *from =
				rgb + (((size_t)row * p->side + y) * width + (size_t)column * p->side) * EVN_COLOURS;
			for (uint32_t x = 0; x < p->side; x++)
				*out++ = ((float)from[x * EVN_COLOURS + c] / 255 - p->mean[c]) / p->deviation[c];
		}
}

evn_status evn_embed_image(const evn_embedding *e, const uint8_t *rgb, float *rows, uint32_t stride, float *scratch,
						   evn_error *err)
{
	const evn_patches *p = &e->patches;
	for (uint32_t t = 0; t < evn_patch_rows(p); t++) {
		float *row = rows + (uint64_t)t * stride;
		const bool is_class = p->class_row && t == 0;
		const evn_tensor *added = is_class ? e->class_row : e->patch_bias;
		EVN_TRY(evn_tensor_rows(e->tokens, t, 1, row, err));
		if (added)
			EVN_TRY(add(e, added, 0, row, scratch, err));
		const uint32_t at = t - p->class_row;
		if (!is_class)
			unfold(p, rgb, at / p->across, at % p->across, row + e->layers_at);
	}
	return EVN_OK;
}
