/* batch.h - the batch of one step: rows of one or several sequences. */
#ifndef EVN_BATCH_H
#define EVN_BATCH_H

#include "nn/blocks.h"
#include "plan/plan.h"

/* A run of rows of one sequence. Rows [first_row, first_row + n_rows) of the batch have the positions from
 * `position` on.
 *
 * The phase says whether the rows belong to a prompt or are decoded. It decides which kernels compute a row and
 * how the ranks share it. The bits of a row thus depend only on its own sequence: not on the other rows of the
 * step, nor on how a prompt is cut into steps. A decoded span has one row. A sequence can have several decoded spans
 * in a step; they are adjacent and in the order of positions. */
typedef struct {
	evn_slot *slot;
	uint32_t first_row, n_rows, position;
	evn_phase phase;
	/* Where the model has an encoder of its own: what rows of other blocks attend to, n_memory positions of a slot
	 * that a batch of the encoder has filled. */
	const evn_slot *memory;
	uint32_t n_memory;
} evn_span;

typedef enum {
	EVN_OUT_LOGITS, /* (n_out, vocab) */
	EVN_OUT_TOP,    /* the n_top largest logits of each row, in lists (top.h) */
	EVN_OUT_HIDDEN, /* (n_out, dim): the rows after the output norm */
	EVN_OUT_POOLED, /* (n_spans, dim): the mean of each span's rows after the output norm */
} evn_output;

/* After a step has succeeded: notes which states the sequences have now. */
void evn_spans_done(const evn_span *spans, uint32_t n);

/* The spans cover the rows in order: first all spans of prompts, then all decoded ones. */
typedef struct {
	uint32_t n_rows, n_spans;
	const evn_span *spans;
	bool encodes; /* the rows are whole sequences and go through the graph's encoder. The slots get memories; no
					 output */
	const float
		*x; /* (n_rows, evn_graph_row_floats): rows of evn_embed, padded with zeros to a multiple of EVN_PAD */
	evn_output output;
	uint32_t n_out;           /* 0: none */
	const uint32_t *out_rows; /* (n_out), ascending; not used for EVN_OUT_POOLED */
	float *out;               /* on the host; each rank writes the logits of the vocabulary rows that it holds */
	/* For EVN_OUT_TOP in place of out: (n_out, n_lists, n_top), filled with EVN_TOP_NONE. n_top <= EVN_TOP_MOST. */
	uint64_t *top;
	uint32_t n_lists, n_top;
	uint32_t n_pieces; /* that go through nodes with different blocks one after the other; 0: one */
	float *passed;     /* (n_rows, padded dim), in place of an output where other nodes have the next blocks */
} evn_batch;

#endif
