/* weights.h - the tensors that a graph reads: of each block, and of what stands before and behind the blocks. Loaders
 * take tensors from here only, so a tensor of the file that is not here is one that evener does not know. */
#ifndef EVN_WEIGHTS_H
#define EVN_WEIGHTS_H

#include "nn/graph.h"

typedef struct {
	const evn_tensor *weight, *bias; /* the bias may be NULL */
} evn_affine;

typedef struct {
	evn_affine norm;                 /* NULL where rows are read as they are */
	evn_affine in[EVN_MATRIX_PARTS]; /* as evn_block_rows lists them; several may be one tensor */
	uint32_t n_in;
	evn_row_spec rows[EVN_MATRIX_PARTS]; /* of each */
	evn_affine out;
	const evn_tensor *head_norms[2]; /* of queries, of keys; or NULL */
} evn_block_weights;

typedef struct {
	const evn_tensor *tokens, *positions; /* positions NULL where they are not learned */
	evn_affine out_norm, head;            /* the head's weight is tokens where the two are tied */
} evn_end_weights;

/* All are there and have the shapes that the graph asks for. */
evn_status evn_block_weights_find(evn_block_weights *out, const evn_graph *g, const evn_block *b, evn_error *err);
evn_status evn_end_weights_find(evn_end_weights *out, const evn_graph *g, evn_error *err);

/* EVN_ERR_UNSUPPORTED, with names, where the file has tensors that the graph does not read: the text would be wrong
 * without a word. */
evn_status evn_graph_check_tensors(const evn_graph *g, evn_error *err);

#endif
