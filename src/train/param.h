/* param.h - what a rank trains: f32 matrices and vectors, of its shard or its own, with their gradients and the
 * optimizer's state. A parameter is made of pieces of named tensors.
 *
 * Most rows are held by one rank. Norms are held by all ranks, and a KV head whose queries are on two ranks is
 * held by both. Such a piece is shared. Its gradients are summed over its holders. One holder, the owner, makes
 * the step and sends its result to the others. All of them thus have the same bits, whatever their compilers do. */
#ifndef EVN_PARAM_H
#define EVN_PARAM_H

#include "group/comm.h"
#include "model/model.h"
#include "train/backward.h"

#define EVN_PIECES 3

/* Rows `row` and columns `col` of a tensor of rows x cols. A vector is one column. Neighbours with the same name are
 * parts of one tensor. */
typedef struct {
	char name[80];
	uint32_t rows, cols;
	evn_range row, col;
	evn_range owned; /* the part of row that this rank owns */
	bool shared;     /* the same on every rank, like holders and owners: one bit for each rank */
	uint32_t holders, owners;
	uint32_t at; /* its first row in the buffers */
} evn_piece;

typedef struct {
	evn_piece pieces[EVN_PIECES];
	uint32_t n_pieces;
	bool vector;           /* norm weights or a bias: one column without padding and without weight decay */
	uint32_t rows, stride; /* of the buffers; stride: the columns, padded with zeros to a multiple of EVN_PAD */
	evn_buf *value, *gradient, *m, *v; /* NULL if this rank holds nothing of it */
	bool borrows;                      /* value belongs to the shard */
} evn_param;

/* Adds a piece after the existing ones. All pieces of a parameter have the same number of columns on this rank. */
void evn_param_add(evn_param *p, const evn_piece *piece);
/* Creates the buffers and clears them. value is borrowed; if it is NULL it is created too. */
evn_status evn_param_create(evn_param *p, evn_queue *q, evn_buf *value, evn_error *err);
void evn_param_free(evn_param *p);
/* The floats of a buffer, with zeros up to a multiple of EVN_PAD. */
static inline uint64_t evn_param_floats(const evn_param *p)
{
	return evn_round_up((uint64_t)p->rows * p->stride, EVN_PAD);
}
/* True if piece k has more rows of the same tensor as the piece before it. */
bool evn_piece_continues(const evn_param *p, uint32_t k);

/* One of the four buffers. */
typedef enum { EVN_PARAM_VALUE, EVN_PARAM_M, EVN_PARAM_V, EVN_PARAM_GRADIENT, EVN_PARAM__COUNT } evn_param_part;
evn_buf *evn_param_buf(const evn_param *p, evn_param_part part);
/* Uploads the piece's rows from the whole tensor in host memory (rows, cols), or downloads the rows that it owns. */
evn_status evn_piece_upload(const evn_param *p, const evn_piece *piece, evn_queue *q, evn_param_part part,
							const float *whole, evn_error *err);
evn_status evn_piece_download(const evn_param *p, const evn_piece *piece, evn_queue *q, evn_param_part part,
							  float *whole, evn_error *err);

/* Every rank calls these for the same pieces in the same order. scratch has at least evn_piece_message floats. */
uint64_t evn_piece_message(const evn_param *p, const evn_piece *piece);
typedef enum {
	EVN_SUM_GRADIENTS, /* sums the gradients of all holders */
	EVN_TAKE_VALUES,   /* takes the owners' values */
} evn_sharing;
evn_status evn_piece_share(const evn_param *p, const evn_piece *piece, evn_sharing what, evn_comm *c, uint32_t rank,
						   evn_queue *q, evn_buf *scratch, evn_error *err);

#endif
