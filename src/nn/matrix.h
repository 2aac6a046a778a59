/* matrix.h - a rank's part of one weight matrix, or of several that read the same input stacked into one. On the
 * device it is tiles of 16 rows in the file's own quantised blocks, or plain rows of f32, which can be trained.
 *
 * Activations are f32 matrices (n_tok, stride): strides are multiples of EVN_PAD columns, and the columns between the
 * true width and the stride are zeros. Kernels rely on it instead of handling tails. */
#ifndef EVN_MATRIX_H
#define EVN_MATRIX_H

#include "model/model.h"
#include "ocl/ocl.h"
#include "plan/plan.h"

#define EVN_MATRIX_PARTS 3

/* Rows of one format. The output row r of the part is column y_offset + r of y. A tile lies in steps, one after the
 * other; a view's begin later, and it may take fewer of each tile. */
typedef struct {
	const evn_quant *quant;
	uint32_t rows;              /* padded to EVN_TILE_ROWS; padding rows are zeros */
	uint32_t n_steps;           /* columns / step; a step is 32 columns, or 256 for K-quants */
	uint32_t begin, tile_steps; /* the first tile's first step; steps from one tile to the next */
	uint32_t y_offset;
	uint32_t first_row; /* of the rows on the device: the row's bias lies there */
	evn_buf *tiles;
} evn_matrix_part;

/* Rows of f32, as GEMM reads them and an optimizer changes them. */
typedef struct {
	evn_buf *buf;           /* (rows, stride) */
	uint32_t rows, columns; /* not padded */
	uint32_t stride;        /* columns, padded with zeros to a multiple of EVN_PAD */
} evn_plain;

/* A low-rank addition (LoRA, Hu et al. 2021): y's columns from y_offset on += scale (x A^T) B^T. */
typedef struct {
	evn_plain a, b; /* (rank, columns of x from x_shift on), (rows, rank) */
	uint32_t y_offset;
	float scale;
	evn_buf *low; /* scratch for x A^T: (n_tok, b.stride) */
} evn_addition;

typedef struct {
	evn_matrix_part parts[EVN_MATRIX_PARTS];
	uint32_t n_parts; /* 0: rows are plain. Only GEMM reads them, so only rows of prompts can be multiplied */
	evn_plain plain;
	const evn_addition *additions; /* borrowed */
	uint32_t n_additions;
	uint32_t rows;    /* sum over parts: y needs this many columns */
	uint32_t columns; /* padded to a step: x needs this many columns */
	uint32_t x_shift; /* SPLIT_INPUT: the rank's first column lies this far into its first block; the columns before
					   * it must be zeros in x */
	uint64_t bytes;   /* on the device, padding included */
	evn_buf *bias;    /* (rows on the device, padded to EVN_PAD), or NULL */
} evn_matrix;

/* A part of a tensor to be stacked: rows [begin, end) of all columns. */
typedef struct {
	const evn_tensor *tensor;
	evn_range rows;
} evn_row_block;

/* SPLIT_OUTPUT: stacks n <= EVN_MATRIX_PARTS row blocks; y_offsets[i] (may be NULL) is where block i's rows begin in
 * y. Neighbours of one format become one part, so one launch. An empty block takes no rows. */
evn_status evn_matrix_split_output(evn_matrix *out, evn_queue *q, const evn_row_block *blocks, uint32_t n,
								   uint32_t *y_offsets, evn_error *err);
/* SPLIT_INPUT: all rows of columns [begin, end), widened to whole quantised blocks; what the neighbour's columns in a
 * straddled block contribute is cancelled by zeros in x (see x_shift). */
evn_status evn_matrix_split_input(evn_matrix *out, evn_queue *q, const evn_tensor *tensor, evn_range columns,
								  evn_error *err);
/* The same as plain rows: nothing is padded but strides, and x_shift is 0. */
evn_status evn_matrix_plain_output(evn_matrix *out, evn_queue *q, const evn_row_block *blocks, uint32_t n,
								   uint32_t *y_offsets, evn_error *err);
evn_status evn_matrix_plain_input(evn_matrix *out, evn_queue *q, const evn_tensor *tensor, evn_range columns,
								  evn_error *err);
void evn_matrix_free(evn_matrix *m);

/* Windows of what is on the device: they borrow m's tiles and bias and are not freed. Plain rows are used whole. Of
 * the i-th of the n blocks that m stacks from y_offsets[] on its rows [rows[i].begin, rows[i].end), begin a multiple
 * of EVN_TILE_ROWS; view_offsets[n] as y_offsets. */
void evn_matrix_view_output(evn_matrix *out, const evn_matrix *m, const uint32_t *y_offsets, uint32_t n,
							const evn_range *rows, uint32_t *view_offsets);
/* Columns [begin, end) of those that m was made of. */
void evn_matrix_view_input(evn_matrix *out, const evn_matrix *m, evn_range columns);

/* A one-dimensional f32 tensor (norm weight, bias; entries [begin, end)) padded with zeros to a multiple of EVN_PAD.
 */
evn_status evn_vector_load(evn_buf **out, evn_queue *q, const evn_tensor *tensor, evn_range entries, evn_error *err);

#endif
