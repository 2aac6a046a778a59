/* schedule.h - which rows the next step computes. Host arithmetic: no device and no clock, so it is tested in
 * simulated time.
 *
 * A job is a sequence that wants tokens. All jobs are in one order, by the time at which they are due: when they
 * arrived plus their priority times EVN_AGEING_S. A job with a better priority passes others, but only those that
 * arrived after a certain time, so every job's turn comes.
 *
 * A step has a row for each decoding job, and pieces of prompts. If the cache blocks run out, the job that is due
 * last is put off: its blocks are freed, and its tokens are computed again when there is room, decoded ones as
 * decoded rows. They thus get the same bits. */
#ifndef EVN_SCHEDULE_H
#define EVN_SCHEDULE_H

#include "engine/prefix.h"

typedef struct evn_job evn_job;
struct evn_job {
	int32_t *ids;      /* prompt and drawn ids; the job's owner appends */
	uint32_t n_prompt; /* ids of the prompt */
	uint32_t n_ids;    /* ids in all */
	uint32_t n_done;   /* ids whose keys and values are in the slot */
	uint32_t n_fresh;  /* ids at the prompt's end that must not come from the cache, because the logits of their rows
						* are wanted; 0: only those of the last id are */
	uint32_t n_next;   /* rows in the step that is being computed: ids [n_done, n_done + n_next) */
	uint32_t n_draft; /* guessed ids behind them, which the next step verifies; the owner sets it before. In the step:
					   * how many of its rows they are */
	double due_s;     /* smaller first */
	bool running;     /* has cache blocks */
	uint32_t n_cached;  /* ids of the prompt that were found in the cache when it first ran */
	uint32_t n_put_off; /* how often it was put off */
	evn_slot slot;
	evn_job *next;
};

typedef struct {
	evn_block_pool *pool;
	evn_prefixes *prefixes;
	uint32_t max_rows;    /* of a step */
	uint32_t max_running; /* jobs that have cache blocks */
	uint32_t chunk;       /* most prompt rows of a step that decodes too */
	evn_job *jobs;        /* in order */
	uint32_t n_jobs, n_running;
	uint64_t n_put_off;
} evn_schedule;

void evn_schedule_add(evn_schedule *s, evn_job *j);
/* Takes a job out and frees its cache blocks. Their content stays known as long as there is room. */
void evn_schedule_remove(evn_schedule *s, evn_job *j);

/* The content of all cache blocks is lost: every job begins again, with the ids that it has. */
void evn_schedule_restart(evn_schedule *s);

/* Whether the rows of the next step belong to the prompt. */
static inline bool evn_job_in_prompt(const evn_job *j) { return j->n_done < j->n_prompt; }

/* Decides n_next of every job. *rows: their sum, 0 if there is nothing to compute. Jobs with rows have cache blocks
 * for them. The pool must hold more than any single job needs. */
evn_status evn_schedule_next(evn_schedule *s, uint32_t *rows, evn_error *err);
/* The step was computed. A job with n_done == n_ids now waits for its next id. What is in the slot behind n_ids, of
 * drafts, does not count, and is overwritten. */
void evn_schedule_done(evn_schedule *s);
/* The id that the owner has appended is the next draft: its keys and values are there. */
void evn_schedule_accept(evn_schedule *s, evn_job *j);

#endif
