/* walk.h - one step of a transformer on one rank. Every rank's thread calls it with the same batch. */
#ifndef EVN_WALK_H
#define EVN_WALK_H

#include "group/comm.h"
#include "nn/batch.h"
#include "nn/cache.h"
#include "nn/view.h"
#include "nn/workspace.h"

/* A rank: what it holds, what it uses of that, and what it computes with. */
typedef struct {
	const evn_view *view;
	evn_workspace *workspace;
	evn_cache *cache;
	evn_comm *comm;
} evn_walker;

/* Computes the batch: keys and values go to the cache, what is asked for to batch->out. EVN_ERR_USAGE where the batch
 * is not as batch.h wants it. A step leaves nothing behind that its repetition does not overwrite. */
evn_status evn_walk(const evn_walker *w, const evn_batch *batch, evn_error *err);

#endif
