/* workers.h - engines that take whole pieces of work from one queue, such as windows of a text or tiles of an image:
 * one engine over all ranks, or one for each rank, which then holds the whole model (the sequence split). */
#ifndef EVN_WORKERS_H
#define EVN_WORKERS_H

#include <pthread.h>
#include <stdatomic.h>

#include "engine/engine.h"
#include "evener/score.h"

typedef struct evn_workers evn_workers;

typedef struct {
	evn_workers *of;
	evn_engine *engine;
	double speed;          /* the predicted one in rows per second, then the last measured one */
	uint64_t quota;        /* the pieces that it may still take in this run; 0 after it has declined one */
	uint64_t before;       /* rows of its piece that were computed in earlier steps */
	atomic_ullong at;      /* rows of its piece that are computed; while loading, bytes */
	uint64_t pieces, rows; /* that it has finished */
} evn_worker;

struct evn_workers {
	const evn_model *model;
	evn_options options; /* of the caller; pointers in it are not kept */
	/* Sequence split: the plan from which the workers' plans are made. Otherwise the engine's, which takes it over.
	 */
	evn_prepared prepared;
	evn_prepared alone[EVN_MAX_RANKS];
	evn_score_info info; /* its ranks are those below */
	evn_score_rank ranks[EVN_MAX_RANKS];
	char reason[256];
	uint32_t n;
	evn_worker at[EVN_MAX_RANKS];
	evn_team *team;
	atomic_bool stop;
	uint64_t load_bytes;
	pthread_mutex_t lock;     /* guards what follows, and the caller's list of pieces */
	uint64_t n_left;          /* the pieces that nobody has taken */
	bool by_shares;           /* pieces are divided by given shares, not by who is free */
	uint64_t total, finished; /* rows of all pieces to compute, and rows computed so far */
	const char *doing;        /* for progress */
	evn_progress_fn progress;
	void *user;
};

/* Decides how the ranks share the work. n_pieces: how many to expect, for the prediction. */
evn_status evn_workers_prepare(evn_workers *w, const evn_model *m, const evn_options *o, evn_split_mode split,
							   uint64_t n_pieces, evn_error *err);
/* Opens the engines. */
evn_status evn_workers_load(evn_workers *w, evn_error *err);
void evn_workers_close(evn_workers *w); /* the engines, after all that uses them */

/* Runs `work` in every worker until no pieces are left. Set n_left, total, doing and progress before. tick (may be
 * NULL) is called with the lock held, now and then and at the end, before progress is. */
evn_status evn_workers_run(evn_workers *w, evn_rank_fn work, void (*tick)(void *), void *arg, evn_error *err);
/* For work, with the lock held: true if this worker takes a piece, which the caller chooses. */
bool evn_worker_takes(evn_worker *w);
/* The same: it has finished a number of pieces with so many rows in all, in this time. */
void evn_worker_finished(evn_worker *w, uint64_t pieces, uint64_t rows, uint64_t took_ns);
/* For engines and vectors: keeps the progress of a worker, which is the `user`, for the caller's own thread. */
bool evn_worker_note(void *user, const char *what, uint64_t done, uint64_t total);
/* Which part of the work each rank has done. */
const evn_score_info *evn_workers_info(evn_workers *w);

#endif
