/* ops_delta.h - gated DeltaNets (Yang et al. 2024) on one rank, and gates of attention's heads. All calls only
 * enqueue. */
#ifndef EVN_OPS_DELTA_H
#define EVN_OPS_DELTA_H

#include "nn/ops.h"

/* Rows of one sequence, one after the other. In a buffer of EVN_RUN_WORDS words for each: the first row, the number
 * of rows, the place of the state before them (EVN_NO_STATE: zeros), the place for the state behind them. */
typedef struct {
	const evn_buf *words;
	uint32_t n;
} evn_runs;
#define EVN_NO_STATE UINT32_MAX

/* One rank's heads. Columns of rows in floats; heads are `state` columns wide. */
typedef struct {
	uint32_t state, taps;
	uint32_t n_heads, first_head; /* value heads of this rank; the index of the first one in the model */
	uint32_t n_keys, first_key;   /* query heads, and as many key heads; likewise */
	uint32_t all_keys;            /* of the model: value head h uses key head h mod all_keys */
	evn_buf *rows;                /* (n_rows, stride): queries, then keys, then values, then gates */
	uint32_t stride, v_offset, z_offset;
	const evn_buf *rates; /* (n_rows, 2 n_heads padded to 16): alpha of the heads, then beta */
	const evn_buf *conv;  /* (taps, channels); channels are the first columns of rows */
	const evn_buf *decay; /* (n_heads) */
	const evn_buf *norm;  /* (state): weights of the norm of each head's output */
	float eps;
	evn_buf *states, *inputs; /* of a part of the cache (cache.h) */
} evn_delta;

/* y (n_rows, y_stride) columns [y_offset, y_offset + n_heads state) = the output of all heads; the others become
 * zeros. Rows and the states are changed. */
evn_status evn_op_delta(evn_ops *ops, const evn_delta *d, evn_buf *y, uint32_t y_stride, uint32_t y_offset,
						const evn_runs *runs, uint32_t n_rows, evn_error *err);
/* Heads of `width` columns. */
typedef struct {
	uint32_t n, width;
	evn_buf *gates; /* (n_rows, n width) */
} evn_gated_heads;
/* In rows (n_rows, stride) each of the first n heads is followed by its gate. Copies the gates, and moves the heads
 * together. */
evn_status evn_op_split_gates(evn_ops *ops, const evn_gated_heads *h, evn_buf *rows, uint32_t stride, uint32_t n_rows,
							  evn_error *err);
/* y (n_rows, stride) columns from `offset` on: heads times the logistic function of their gates. */
evn_status evn_op_apply_gates(evn_ops *ops, const evn_gated_heads *h, evn_buf *y, uint32_t stride, uint32_t offset,
							  uint32_t n_rows, evn_error *err);

#endif
