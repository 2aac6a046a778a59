/* tape.h - what a walk keeps of each block for the backward walk. Without a tape the next block overwrites these
 * rows. A walk with a tape is for training: its rows are whole sequences, attention needs no cache, and dropout is
 * possible. */
#ifndef EVN_TAPE_H
#define EVN_TAPE_H

#include "nn/view.h"
#include "nn/workspace.h"

/* The rows of one block. The strides are those of the workspace. */
typedef struct {
	evn_buf *x;      /* before the block */
	evn_buf *normed; /* the input of W_in */
	evn_buf *in;     /* its output: rotated queries, keys and values; or gate and up */
	evn_buf *mid;    /* the input of W_out: the output of attention, or of the gate */
	evn_buf *lse;    /* (n_rows, heads) for attention: see evn_op_attention_sequences */
} evn_kept;

typedef struct {
	evn_kept *blocks; /* (n_blocks); empty for blocks of which this rank has no units */
	uint32_t n_blocks;
	/* Of each block only x is kept. The other rows share buffers, one set for each kind of block, and the backward
	 * walk computes them again. */
	bool shares;
	evn_kept shared[EVN_BLOCK_KINDS];
	/* Dropout of what the embedding and each block add to x. Site 0 is the embedding, site 1 + i is block i. A mask
	 * on a sum over ranks is the same mask on each part, so every rank drops from its own partial sum. */
	evn_dropout dropout;
} evn_tape;

/* Makes a tape for steps of w's most rows. */
evn_status evn_tape_create(evn_tape **out, const evn_workspace *w, const evn_view *v, bool shares, evn_error *err);
void evn_tape_free(evn_tape *t);

/* The tape's dropout at one site. */
evn_dropout evn_tape_dropout(const evn_tape *t, uint32_t site);

#endif
