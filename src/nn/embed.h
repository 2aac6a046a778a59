/* embed.h - the input row of a token: its row of the embedding, plus that of its position if positions are
 * learned, plus that of the first type of tokens if there are types. Behind it are the inputs of layers by the token,
 * if the model has them. In a model of images: the row of a place, and behind it the patch that is there. */
#ifndef EVN_EMBED_H
#define EVN_EMBED_H

#include "nn/graph.h"

typedef struct {
	const evn_tensor *tokens, *positions; /* positions is NULL if they are not learned */
	const evn_tensor *types, *layers;     /* or NULL */
	uint32_t stride, layers_at;           /* the floats of a row that is sent; the column of the layers' inputs */
	float layer_scale;                    /* of these */
	uint32_t dim, n_positions;            /* n_positions: UINT32_MAX if any position is possible */
	float scale;                          /* of both rows */
	evn_patches patches;
	const evn_tensor *patch_bias, *class_row; /* or NULL */
} evn_embedding;

evn_status evn_embedding_find(evn_embedding *out, const evn_graph *g, evn_error *err);
/* Writes rows (n, stride); stride is e->stride. Columns behind the dim of the embedding are not changed, but for the
 * inputs of layers. scratch has dim floats. position + n <=
 * n_positions. */
evn_status evn_embed(const evn_embedding *e, const int32_t *ids, uint32_t n, uint32_t position, float *rows,
					 uint32_t stride, float *scratch, evn_error *err);
/* The rows of an image: evn_patch_rows of them, in columns that are 0 until now. rgb (n, n, EVN_COLOURS), n = across
 * * side of the patches. */
evn_status evn_embed_image(const evn_embedding *e, const uint8_t *rgb, float *rows, uint32_t stride, float *scratch,
						   evn_error *err);

#endif
