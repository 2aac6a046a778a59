/* batch.h - what one step computes: rows of several sequences. */
#ifndef EVN_BATCH_H
#define EVN_BATCH_H

#include "nn/blocks.h"
#include "plan/plan.h"

/* A run of rows of one sequence: rows [first_row, first_row + n_rows) of the batch stand at positions `position` and
 * on.
 *
 * The phase says what a row is: one of a prompt, or one that is decoded. It decides which kernels compute the row and
 * how the ranks share it, so the row's bits depend on its own sequence alone: not on the other rows of the step, nor
 * on how a prompt is cut into steps. A span that is decoded has one row. */
typedef struct {
	const evn_slot *slot;
	uint32_t first_row, n_rows, position;
	evn_phase phase;
} evn_span;

typedef enum {
	EVN_OUT_LOGITS, /* (n_out, vocab) */
	EVN_OUT_HIDDEN, /* (n_out, dim): rows behind the output norm */
	EVN_OUT_POOLED, /* (n_spans, dim): the mean of each span's rows behind the output norm */
} evn_output;

/* Spans cover the rows in order: first all spans of prompts, then all that are decoded. */
typedef struct {
	uint32_t n_rows, n_spans;
	const evn_span *spans;
	const float *x; /* (n_rows, stride): rows of the embedding, padded with zeros to a multiple of EVN_PAD */
	evn_output output;
	uint32_t n_out;           /* 0: none */
	const uint32_t *out_rows; /* (n_out), ascending; not read for EVN_OUT_POOLED */
	float *out;               /* on the host; of logits each rank writes the columns that it holds */
} evn_batch;

#endif
