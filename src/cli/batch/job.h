/* job.h - one piece on its way through the scheduler: its requests, what they have drawn, and its record. */
#ifndef EVN_CLI_JOB_H
#define EVN_CLI_JOB_H

#include "cli/batch/ask.h"
#include "cli/batch/input.h"
#include "evener/chat.h"
#include "evener/requests.h"

#include <pthread.h>
#include <stdatomic.h>

typedef struct job job;
typedef struct openai_request openai_request;

/* What all jobs share. */
typedef struct {
	const settings *settings;
	const evn_model *model;
	const batch_input *input;
	const asking *asking;
	evn_scheduler *scheduler;
	evn_grammar *grammar;       /* of all answers; NULL: any text */
	evn_vocabulary *vocabulary; /* NULL until a request has a grammar */
	int64_t seed, began;        /* of the journal */
	uint64_t input_hash;
	atomic_ullong n_tokens; /* drawn or scored so far */
	pthread_mutex_t lock;
	pthread_cond_t changed; /* a job has ended */
	job *ended;             /* those that nobody has taken yet */
} workshop;

typedef struct {
	char *data; /* NULL while empty */
	size_t n, room;
} text_buffer;

typedef struct {
	job *job;
	evn_request *request;
	evn_answer *answer; /* NULL: the request scores a label */
	text_buffer content, reasoning;
	bool no_memory, stopped; /* by a stop string */
	double logprob;          /* the sum over a label's tokens */
	size_t n_scored;
	evn_request_result result;
} job_part;

struct job {
	workshop *shop;
	job *next;
	size_t piece;
	json_t *fields;
	openai_request *openai; /* NULL: the template makes the prompt */
	question question;
	job_part *parts;
	size_t n_parts, n_ended;
};

evn_status workshop_start(workshop *w, evn_error *err);
void workshop_end(workshop *w);
/* The jobs that have ended, in a list; waits for one, at most for seconds. */
job *workshop_take(workshop *w, double seconds);

/* Makes the piece's requests and submits them. Where job_is_piece_fault, *out is a job without requests, whose
 * failure can be written. */
evn_status job_begin(job **out, workshop *w, size_t piece, evn_error *err);
void job_free(job *j);                 /* cancels what still runs, and waits */
bool job_is_piece_fault(evn_status s); /* not of the device or of memory: other pieces go on */

int64_t job_seed(const job *j);
/* Submits a request whose ids become the text of the part. */
evn_status job_submit(job_part *p, const evn_answer_options *answer, evn_request_options *request, evn_error *err);

/* What is written about a piece that has ended: one line of JSON, malloc'd. An error of the device is an error here.
 */
evn_status job_record(const job *j, char **record, evn_error *err);
char *job_failure(const job *j, const evn_error *why); /* NULL: out of memory */
bool job_part_stopped(const job_part *p);              /* the answer has come to its end */
char *job_dump(json_t *record);                        /* owns record */

#endif
