/* matrix.h - a rank's part of one weight matrix, or of several stacked ones that read the same input. On the
 * device it is either tiles of 16 rows, in the quantised blocks of the file, or plain rows of f32.
 *
 * Activations are f32 matrices (n_tok, stride). Strides are multiples of EVN_PAD columns, and the columns between
 * the true width and the stride are zeros. Kernels rely on this instead of handling remainders. */
#ifndef EVN_MATRIX_H
#define EVN_MATRIX_H

#include "model/model.h"
#include "ocl/ocl.h"
#include "plan/plan.h"

#define EVN_MATRIX_PARTS 4   /* the most matrices that are stacked */
#define EVN_MATRIX_BUFFERS 8 /* the most buffers that a device may need for one, if its buffers are small */

/* Rows of one format. Output row r of the part is column y_offset + r of y. The steps of a tile follow each other. A
 * view's tiles begin later, and a view may use fewer steps of each tile. */
typedef struct {
	const evn_quant *quant;
	uint32_t rows;              /* padded to EVN_TILE_ROWS with rows of zeros */
	uint32_t n_steps;           /* columns / step; a step is 32 columns, or 256 for K-quants */
	uint32_t begin, tile_steps; /* the first step of the first tile; the steps from one tile to the next */
	uint32_t expert_steps;      /* the steps from one expert's rows to the next one's */
	uint32_t y_offset;
	uint32_t first_row; /* the first row, counted over all rows on the device; the bias is indexed with it */
	evn_buf *tiles;
} evn_matrix_part;

/* Plain rows: rows of f32 that GEMM reads and an optimizer changes. */
typedef struct {
	evn_buf *buf;           /* (rows, stride) */
	uint32_t rows, columns; /* not padded */
	uint32_t stride;        /* columns, padded with zeros to a multiple of EVN_PAD */
} evn_plain;

/* A low-rank addition (LoRA, Hu et al. 2021): y's columns from y_offset on += scale (x A^T) B^T. */
typedef struct {
	evn_plain a, b; /* a: (rank, columns of x from x_shift on); b: (rows, rank) */
	uint32_t y_offset;
	float scale;
	evn_buf *low; /* scratch for x A^T: (n_tok, b.stride) */
} evn_addition;

typedef struct {
	evn_matrix_part parts[EVN_MATRIX_BUFFERS + EVN_MATRIX_PARTS]; /* a view may cut parts at the stacked matrices */
	uint32_t n_parts; /* 0: the rows are plain, and GEMM multiplies them in every phase */
	/* A matrix for each expert, all of one shape. Rows, columns and windows are those of one. Plain: one matrix. */
	uint32_t n_experts;
	evn_plain plain;
	const evn_addition *additions; /* borrowed */
	uint32_t n_additions;
	uint32_t rows;    /* the sum over the parts: the columns that y needs */
	uint32_t columns; /* padded to a whole step: the columns that x needs */
	/* SPLIT_INPUT: the rank's first column is at this place in its first block. The columns of x before it are zeros.
	 */
	uint32_t x_shift;
	uint64_t bytes;       /* on the device, with padding; of all experts */
	evn_buf *bias;        /* one value for each row on the device, padded to EVN_PAD, of each expert; or NULL */
	uint32_t bias_stride; /* the values from one expert to the next */
} evn_matrix;

/* A part of a tensor to be stacked: rows [begin, end), with all columns. */
typedef struct {
	const evn_tensor *tensor;
	evn_range rows;
} evn_row_block;

/* SPLIT_OUTPUT: stacks n <= EVN_MATRIX_PARTS row blocks. y_offsets[i] (may be NULL) is where block i's rows begin in
 * y. Neighbours of the same format become one part, and thus one launch, unless they need several buffers. A block
 * may be empty. The third dimension of tensors counts experts, the same number in all blocks. */
evn_status evn_matrix_split_output(evn_matrix *out, evn_queue *q, const evn_row_block *blocks, uint32_t n,
								   uint32_t *y_offsets, evn_error *err);
/* SPLIT_INPUT: all rows of columns [begin, end), widened to whole quantised blocks. Columns that belong to a
 * neighbour are cancelled by zeros in x (see x_shift). */
evn_status evn_matrix_split_input(evn_matrix *out, evn_queue *q, const evn_tensor *tensor, evn_range columns,
								  evn_error *err);
/* The same with plain rows. Only strides are padded, and x_shift is 0. */
evn_status evn_matrix_plain_output(evn_matrix *out, evn_queue *q, const evn_row_block *blocks, uint32_t n,
								   uint32_t *y_offsets, evn_error *err);
evn_status evn_matrix_plain_input(evn_matrix *out, evn_queue *q, const evn_tensor *tensor, evn_range columns,
								  evn_error *err);
void evn_matrix_free(evn_matrix *m);

/* Views. They borrow m's tiles and bias and are not freed. A view of plain rows has all of them.
 * evn_matrix_view_output takes rows [rows[i].begin, rows[i].end) of the i-th of the n blocks that m stacks from
 * y_offsets[] on; begin is a multiple of EVN_TILE_ROWS. view_offsets[n] has the meaning of y_offsets. */
void evn_matrix_view_output(evn_matrix *out, const evn_matrix *m, const uint32_t *y_offsets, uint32_t n,
							const evn_range *rows, uint32_t *view_offsets);
/* Columns [begin, end) of m's own columns. */
void evn_matrix_view_input(evn_matrix *out, const evn_matrix *m, evn_range columns);

/* Loads entries [begin, end) of a one-dimensional f32 tensor (norm weights, bias), padded with zeros to a multiple of
 * EVN_PAD. */
evn_status evn_vector_load(evn_buf **out, evn_queue *q, const evn_tensor *tensor, evn_range entries, evn_error *err);

#endif
