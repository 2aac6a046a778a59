/* walk.h - one step of a transformer on one rank. The threads of all ranks call it with the same batch. */
#ifndef EVN_WALK_H
#define EVN_WALK_H

#include "group/comm.h"
#include "nn/batch.h"
#include "nn/cache.h"
#include "nn/tape.h"

/* A rank: the view of the weights that it uses, and what it computes with. */
typedef struct {
	const evn_view *view;
	evn_workspace *workspace;
	evn_cache *cache;
	evn_comm *comm;
	const evn_tape *tape; /* keeps what a backward walk needs; with a tape there is no cache. NULL: nothing is kept */
	struct evn_tap *tap;  /* copies what is to be checked (tap.h); NULL: nothing is */
} evn_walker;

/* Computes the batch. Keys and values are appended to the cache, and the output goes to batch->out. EVN_ERR_USAGE if
 * the batch is not valid (batch.h). A failed step can be repeated: the repetition overwrites everything that it
 * left. */
evn_status evn_walk(const evn_walker *w, const evn_batch *batch, evn_error *err);

#endif
