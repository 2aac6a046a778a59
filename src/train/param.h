/* param.h - what a rank trains: f32 matrices and vectors, of its shard or of their own, with their gradient and the
 * optimizer's state, each made of pieces of named tensors.
 *
 * Most rows are held by one rank. Norms are held by all, a KV head whose queries two ranks share is held by both:
 * such a piece is shared. Its gradients are summed over its holders, and one of them, the owner, makes the step and
 * hands its result to the others, so that all have the same bits whatever their compilers do. */
#ifndef EVN_PARAM_H
#define EVN_PARAM_H

#include "group/comm.h"
#include "model/model.h"
#include "train/backward.h"

#define EVN_PIECES 3

/* Rows `row`, columns `col` of a tensor of rows x cols; a vector is one column. Neighbours of one name are parts of
 * one tensor. */
typedef struct {
	char name[80];
	uint32_t rows, cols;
	evn_range row, col;
	evn_range owned; /* of row */
	bool shared;     /* the same on every rank, as are holders and owners: one bit per rank */
	uint32_t holders, owners;
	uint32_t at; /* first row in the buffers */
} evn_piece;

typedef struct {
	evn_piece pieces[EVN_PIECES];
	uint32_t n_pieces;
	bool vector; /* a norm's weights or a bias: one column, not padded, to which weight decay does not apply */
	uint32_t rows, stride;             /* of the buffers; stride: columns padded to EVN_PAD with zeros */
	evn_buf *value, *gradient, *m, *v; /* NULL where this rank holds none of it */
	bool borrows;                      /* value is the shard's */
} evn_param;

/* Adds a piece below the ones there are; all pieces of a parameter hold equally many columns here. */
void evn_param_add(evn_param *p, const evn_piece *piece);
/* Makes the buffers, zeroed; value is borrowed, or made too where it is NULL. */
evn_status evn_param_create(evn_param *p, evn_queue *q, evn_buf *value, evn_error *err);
void evn_param_free(evn_param *p);
/* Of a buffer, with zeros up to a multiple of EVN_PAD. */
static inline uint64_t evn_param_floats(const evn_param *p)
{
	return evn_round_up((uint64_t)p->rows * p->stride, EVN_PAD);
}
/* Piece k has more rows of the tensor of the piece before it. */
bool evn_piece_continues(const evn_param *p, uint32_t k);

/* Which of the four buffers. */
typedef enum { EVN_PARAM_VALUE, EVN_PARAM_M, EVN_PARAM_V, EVN_PARAM_GRADIENT, EVN_PARAM__COUNT } evn_param_part;
evn_buf *evn_param_buf(const evn_param *p, evn_param_part part);
/* The piece's rows from the whole tensor in host memory (rows, cols), and those it owns back into it. */
evn_status evn_piece_upload(const evn_param *p, const evn_piece *piece, evn_queue *q, evn_param_part part,
							const float *whole, evn_error *err);
evn_status evn_piece_download(const evn_param *p, const evn_piece *piece, evn_queue *q, evn_param_part part,
							  float *whole, evn_error *err);

/* Every rank calls these for the same pieces in the same order. scratch: evn_piece_message floats or more. */
uint64_t evn_piece_message(const evn_param *p, const evn_piece *piece);
typedef enum {
	EVN_SUM_GRADIENTS, /* of all holders */
	EVN_TAKE_VALUES,   /* the owners' */
} evn_sharing;
evn_status evn_piece_share(const evn_param *p, const evn_piece *piece, evn_sharing what, evn_comm *c, uint32_t rank,
						   evn_queue *q, evn_buf *scratch, evn_error *err);

#endif
