/* work.c - see work.h. */
#include "serve/work.h"

#include <string.h>

static job *next_job(work_queue *q)
{
	pthread_mutex_lock(&q->lock);
	while (!q->first && !q->stops)
		pthread_cond_wait(&q->changed, &q->lock);
	job *j = q->first;
	if (j) {
		q->first = j->next;
		if (!q->first)
			q->last = &q->first;
	}
	pthread_mutex_unlock(&q->lock);
	return j;
}

static void *work(void *queue)
{
	for (job *j; (j = next_job(queue));)
		j->run(j->x);
	return NULL;
}

evn_status work_start(work_queue *q, evn_error *err)
{
	pthread_mutex_init(&q->lock, NULL);
	pthread_cond_init(&q->changed, NULL);
	q->last = &q->first;
	for (size_t i = 0; i < WORKERS; i++) {
		int code = pthread_create(&q->threads[i], NULL, work, q);
		if (code != 0)
			return evn_fail(err, EVN_ERR_MEMORY, "a thread of the server: %s", strerror(code));
		q->n_threads++;
	}
	return EVN_OK;
}

void work_add(work_queue *q, job *j)
{
	j->next = NULL;
	pthread_mutex_lock(&q->lock);
	*q->last = j;
	q->last = &j->next;
	pthread_cond_signal(&q->changed);
	pthread_mutex_unlock(&q->lock);
}

void work_stop(work_queue *q)
{
	pthread_mutex_lock(&q->lock);
	q->stops = true;
	pthread_cond_broadcast(&q->changed);
	pthread_mutex_unlock(&q->lock);
	for (size_t i = 0; i < q->n_threads; i++)
		pthread_join(q->threads[i], NULL);
	pthread_cond_destroy(&q->changed);
	pthread_mutex_destroy(&q->lock);
}
