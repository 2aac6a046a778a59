/* tape.h - what a walk keeps of each block for a walk back, instead of rows that the next block overwrites. A walk
 * with a tape is one of learning: its rows are whole sequences, attention needs no cache, and elements may be
 * dropped. */
#ifndef EVN_TAPE_H
#define EVN_TAPE_H

#include "nn/view.h"
#include "nn/workspace.h"

/* Rows of one block; strides as in the workspace. */
typedef struct {
	evn_buf *x;      /* before the block */
	evn_buf *normed; /* what W_in reads */
	evn_buf *in;     /* what it makes of them: queries, keys and values, rotated; or gate and up */
	evn_buf *mid;    /* what W_out reads: attended or gated rows */
	evn_buf *lse;    /* of attention (n_rows, heads): see evn_op_attention_sequences */
} evn_kept;

typedef struct {
	evn_kept *blocks; /* (n_blocks); nothing of those that this rank has no units of */
	uint32_t n_blocks;
	/* Only x is kept of each block: the other rows share buffers (all of a kind), and the walk back has them computed
	 * again. */
	bool shares;
	evn_kept shared[EVN_BLOCK_KINDS];
	/* Of what the embedding and each block add to x: site 0 is the embedding, 1 + i is block i. A sum over ranks with
	 * a mask is the sum of the parts with that mask: every rank drops from its own partial sum. */
	evn_dropout dropout;
} evn_tape;

/* For steps of w's most rows. */
evn_status evn_tape_create(evn_tape **out, const evn_workspace *w, const evn_view *v, bool shares, evn_error *err);
void evn_tape_free(evn_tape *t);

/* The tape's dropout at one site. */
evn_dropout evn_tape_dropout(const evn_tape *t, uint32_t site);

#endif
