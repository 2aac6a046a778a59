#include "group/team.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#define TICK_NS 100000000

typedef struct {
	evn_team *team;
	uint32_t rank;
	pthread_t thread;
	bool started;
	evn_status status;
	evn_error err;
} member;

struct evn_team {
	uint32_t n_ranks, working;
	uint64_t round; /* counts runs; a member works when it sees a new one */
	bool quit;
	evn_rank_fn fn;
	void *arg;
	void (*on_failure)(void *);
	void *failure_arg;
	pthread_mutex_t lock;
	pthread_cond_t begin, done;
	member members[EVN_MAX_RANKS];
};

static void work(member *m)
{
	evn_team *t = m->team;
	m->err = (evn_error){0};
	m->status = t->fn(t->arg, m->rank, &m->err);
	if (m->status != EVN_OK && t->on_failure)
		t->on_failure(t->failure_arg);
	pthread_mutex_lock(&t->lock);
	if (--t->working == 0)
		pthread_cond_signal(&t->done);
	pthread_mutex_unlock(&t->lock);
}

static void *thread_main(void *arg)
{
	member *m = arg;
	evn_team *t = m->team;
	uint64_t seen = 0;
	for (;;) {
		pthread_mutex_lock(&t->lock);
		while (t->round == seen && !t->quit)
			pthread_cond_wait(&t->begin, &t->lock);
		seen = t->round;
		bool quit = t->quit;
		pthread_mutex_unlock(&t->lock);
		if (quit)
			return NULL;
		work(m);
	}
}

evn_status evn_team_create(evn_team **out, uint32_t n_ranks, void (*on_failure)(void *), void *arg, evn_error *err)
{
	evn_team *t = *out = calloc(1, sizeof *t);
	if (!t)
		return evn_fail_memory(err, "threads", sizeof *t);
	t->n_ranks = n_ranks;
	t->on_failure = on_failure;
	t->failure_arg = arg;
	pthread_condattr_t monotonic;
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_mutex_init(&t->lock, NULL);
	pthread_cond_init(&t->begin, NULL);
	pthread_cond_init(&t->done, &monotonic);
	pthread_condattr_destroy(&monotonic);
	for (uint32_t i = 0; i < n_ranks; i++) {
		member *m = &t->members[i];
		m->team = t;
		m->rank = i;
		if (pthread_create(&m->thread, NULL, thread_main, m) != 0)
			return evn_fail(err, EVN_ERR_MEMORY, "could not start a thread for rank %u", i);
		m->started = true;
	}
	return EVN_OK;
}

void evn_team_free(evn_team *t)
{
	if (!t)
		return;
	pthread_mutex_lock(&t->lock);
	t->quit = true;
	pthread_cond_broadcast(&t->begin);
	pthread_mutex_unlock(&t->lock);
	for (uint32_t i = 0; i < t->n_ranks; i++)
		if (t->members[i].started)
			pthread_join(t->members[i].thread, NULL);
	pthread_cond_destroy(&t->begin);
	pthread_cond_destroy(&t->done);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

static void wait_for_all(evn_team *t, void (*tick)(void *), void *tick_arg)
{
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	while (t->working) {
		if (!tick) {
			pthread_cond_wait(&t->done, &t->lock);
			continue;
		}
		until.tv_nsec += TICK_NS;
		until.tv_sec += until.tv_nsec / 1000000000;
		until.tv_nsec %= 1000000000;
		pthread_cond_timedwait(&t->done, &t->lock, &until);
		pthread_mutex_unlock(&t->lock);
		tick(tick_arg);
		pthread_mutex_lock(&t->lock);
	}
}

evn_status evn_team_run(evn_team *t, evn_rank_fn fn, void *arg, void (*tick)(void *), void *tick_arg, evn_error *err)
{
	pthread_mutex_lock(&t->lock);
	t->fn = fn;
	t->arg = arg;
	t->working = t->n_ranks;
	t->round++;
	pthread_cond_broadcast(&t->begin);
	wait_for_all(t, tick, tick_arg);
	pthread_mutex_unlock(&t->lock);
	const member *cause = NULL;
	for (uint32_t i = 0; i < t->n_ranks; i++) {
		const member *m = &t->members[i];
		if (m->status != EVN_OK && (!cause || (cause->status == EVN_ERR_CANCELLED && m->status != EVN_ERR_CANCELLED)))
			cause = m;
	}
	if (!cause)
		return EVN_OK;
	if (err)
		*err = cause->err;
	return cause->status;
}
