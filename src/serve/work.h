/* work.h - a queue of jobs and the threads that do them. */
#ifndef EVN_SERVE_WORK_H
#define EVN_SERVE_WORK_H

#include "serve/exchange.h"

#define WORKERS 2

typedef struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	job *first, **last;
	bool stops;
	pthread_t threads[WORKERS];
	size_t n_threads;
} work_queue;

evn_status work_start(work_queue *q, evn_error *err);
void work_add(work_queue *q, job *j);
void work_stop(work_queue *q); /* after all jobs are done */

#endif
