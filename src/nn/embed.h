/* embed.h - the input row of a token: its row of the embedding, plus that of its position if positions are
 * learned, plus that of the first type of tokens if there are types. */
#ifndef EVN_EMBED_H
#define EVN_EMBED_H

#include "nn/graph.h"

typedef struct {
	const evn_tensor *tokens, *positions; /* positions is NULL if they are not learned */
	const evn_tensor *types;              /* or NULL */
	uint32_t dim, n_positions;            /* n_positions: UINT32_MAX if any position is possible */
	float scale;                          /* of both rows */
} evn_embedding;

evn_status evn_embedding_find(evn_embedding *out, const evn_graph *g, evn_error *err);
/* Writes rows (n, stride). Columns from dim on are not changed. scratch has dim floats. position + n <=
 * n_positions. */
evn_status evn_embed(const evn_embedding *e, const int32_t *ids, uint32_t n, uint32_t position, float *rows,
					 uint32_t stride, float *scratch, evn_error *err);

#endif
