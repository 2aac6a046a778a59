/* weights.h - the tensors that a graph reads: those of each block, and those before and after the blocks. Loaders
 * take tensors only from here. A tensor of the file that is not here is unknown to evener. */
#ifndef EVN_WEIGHTS_H
#define EVN_WEIGHTS_H

#include "nn/graph.h"

typedef struct {
	const evn_tensor *weight, *bias; /* the bias may be NULL */
} evn_affine;

/* What a DeltaNet has besides matrices; for each value head: two rows that multiply the normed row, a number that
 * is added to the first product, and the rate of decay. */
typedef struct {
	const evn_tensor *conv, *alpha, *beta, *alpha_bias, *decay, *norm; /* norm: of each head's output */
} evn_delta_weights;

typedef struct {
	evn_affine norm;                 /* NULL if there is no norm */
	evn_affine in[EVN_MATRIX_PARTS]; /* in the order of evn_block_rows; several of them may be one tensor */
	uint32_t n_in;
	evn_row_spec rows[EVN_MATRIX_PARTS]; /* the rows of each */
	evn_affine out;
	evn_affine router;               /* of experts, or the vector of a shared expert */
	const evn_tensor *router_scale;  /* of experts that have scales; or NULL */
	const evn_tensor *expert_scales; /* the same, one for each expert */
	const evn_tensor *choice_bias;   /* of experts that are chosen with a bias; otherwise NULL */
	evn_affine post, joint;          /* NULL if there is no such norm of sums */
	const evn_tensor *head_norms[2]; /* of queries, of keys; or NULL */
	const evn_tensor *sinks;         /* of all query heads; or NULL */
	const evn_tensor *distances;     /* biases (n_buckets, query heads); or NULL */
	evn_delta_weights delta;         /* of EVN_BLOCK_DELTA */
	/* Of attention over a latent vector: the norms of the queries' and of the keys' and values'; the products of the
	 * first, (heads * (plain + rotated), query), and of the other, by head */
	const evn_tensor *query_norm, *query_b, *latent_norm, *k_b, *v_b, *kv_b;
	const evn_tensor *scale; /* of the layer; or NULL. Its value is in the block */
} evn_block_weights;

typedef struct {
	const evn_tensor *tokens, *positions; /* positions is NULL if they are not learned apart from the tokens */
	/* (vocab, layers * inputs), (inputs); NULL if layers have no inputs by the token */
	const evn_tensor *layer_tokens, *layer_norm;
	const evn_tensor *projection;             /* (rows, columns): evn_graph.projection; or NULL */
	const evn_tensor *patch_bias, *class_row; /* (dim) of images; or NULL */
	const evn_tensor *types;                  /* a row for each type of token; NULL: there are none */
	evn_affine encoder_norm;                  /* NULL if there is no encoder */
	evn_affine out_norm, head;                /* the head's weight is `tokens` if the two are tied */
} evn_end_weights;

/* Finds all tensors of the block and checks their shapes. */
evn_status evn_block_weights_find(evn_block_weights *out, const evn_graph *g, const evn_block *b, evn_error *err);
evn_status evn_end_weights_find(evn_end_weights *out, const evn_graph *g, evn_error *err);

/* EVN_ERR_UNSUPPORTED if the file has tensors that the graph does not read; it names them. Ignoring them would give
 * wrong text without an error. */
evn_status evn_graph_check_tensors(const evn_graph *g, evn_error *err);

#endif
