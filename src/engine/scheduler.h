/* scheduler.h - the parts of a scheduler: its thread (scheduler.c), the rows of a step (step_rows.c), guesses
 * (drafts.c), and what other threads call (requests.c).
 *
 * The thread alone touches the schedule and the running requests. Other threads leave a request among the arrivals,
 * set its `cancelled`, and wait for its `ended`. */
#ifndef EVN_SCHEDULER_H
#define EVN_SCHEDULER_H

#include "engine/draft_model.h"
#include "engine/request.h"
#include "engine/speculate.h"

/* An output row: the logits behind the request's id at `position`. */
typedef struct {
	evn_request *request;
	uint32_t position;
} evn_output_row;

/* The rows of a step, and what its logits are for. */
typedef struct {
	float *x, *scratch;      /* (n_batch, stride), (stride) */
	evn_span *spans;         /* (n_batch) */
	uint32_t *out_rows;      /* (n_batch) */
	evn_output_row *outputs; /* (n_batch) of each output row */
	void *out;               /* logits, or lists of the largest */
	uint64_t out_bytes;      /* its room */
	uint32_t stride;
} evn_step_rows;

struct evn_scheduler {
	evn_engine *e;
	pthread_t thread;
	evn_schedule schedule;
	evn_speculate speculate;
	evn_speculator speculator;
	evn_draft_model *draft; /* NULL: there is none */
	double draft_s;         /* that it took before the last step */
	uint32_t n_right;       /* drafts of the last step that were drawn */
	evn_step_rows rows;
	pthread_mutex_t lock; /* guards what follows, and `ended` of requests */
	pthread_cond_t changed;
	evn_request *arrivals, **last_arrival;
	uint32_t n_alive, max_waiting; /* n_alive: submitted, not ended */
	uint64_t n_arrived;            /* the thread alone uses it */
	atomic_bool stop;
	evn_scheduler_stats stats;
	evn_comm_times before[EVN_MAX_RANKS]; /* the communicator's times when the scheduler began */
	uint64_t bytes_read[EVN_MAX_RANKS];
};

void *evn_scheduler_run(void *scheduler); /* the thread */

static inline evn_request *evn_request_of(evn_job *j) { return (evn_request *)(void *)j; }

evn_status evn_step_rows_make(evn_step_rows *r, const evn_engine *e, evn_error *err);
void evn_step_rows_free(evn_step_rows *r);
/* Tells the listener of a trace about a request that ends (trace.c). The engine's lock must be held. */
void evn_trace_request(evn_scheduler *s, const evn_request *r);
/* Decides n_draft of every job, and writes the guesses behind its ids. The engine's lock must be held. */
void evn_drafts_propose(evn_scheduler *s);
/* The drafts that the step has verified. */
uint32_t evn_drafts_count(evn_scheduler *s);
/* The step took so long, with what made its drafts. */
void evn_drafts_note(evn_scheduler *s, const evn_batch *b, uint32_t n_drafts, double seconds);
/* The batch of the jobs that have rows in the next step. It points into r. */
evn_status evn_step_rows_fill(evn_step_rows *r, evn_engine *e, const evn_schedule *s, evn_batch *b, evn_error *err);

#endif
