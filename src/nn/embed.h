/* embed.h - what a token begins with: its row of the embedding, and where positions are learned that of its position.
 */
#ifndef EVN_EMBED_H
#define EVN_EMBED_H

#include "nn/graph.h"

typedef struct {
	const evn_tensor *tokens, *positions; /* positions NULL where they are not learned */
	uint32_t dim, n_positions;            /* UINT32_MAX: any */
	float scale;                          /* of both */
} evn_embedding;

evn_status evn_embedding_find(evn_embedding *out, const evn_graph *g, evn_error *err);
/* rows (n, stride), columns from dim on are left alone; scratch (dim). position + n <= n_positions. */
void evn_embed(const evn_embedding *e, const int32_t *ids, uint32_t n, uint32_t position, float *rows,
			   uint32_t stride, float *scratch);

#endif
