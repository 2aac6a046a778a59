#include "group/team.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TICK_NS 100000000
#define GRACE_NS 1000000000u /* the time for threads to return after a hang is known and all are cancelled */

typedef struct {
	evn_team *team;
	uint32_t rank;
	pthread_t thread;
	bool started, working;
	evn_status status;
	evn_error err;
} member;

struct evn_team {
	evn_team_config config;
	uint32_t working;
	uint64_t round; /* counts the runs; a thread whose rank works does so when it sees a new number */
	bool quit, abandoned;
	evn_rank_fn fn;
	void *arg;
	evn_fault fault;
	evn_fault hang; /* of the current run; status EVN_OK: none is known */
	pthread_mutex_t lock;
	pthread_cond_t begin, done;
	member *members;
};

static void run_member(member *m)
{
	evn_team *t = m->team;
	evn_error err = {0};
	evn_status status = t->fn(t->arg, m->rank, &err);
	pthread_mutex_lock(&t->lock);
	if (status != EVN_OK && t->config.on_failure && !t->abandoned) /* else its argument may be gone */
		t->config.on_failure(t->config.arg);
	m->err = err;
	m->status = status;
	m->working = false;
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
		const bool quit = t->quit, works = m->working;
		pthread_mutex_unlock(&t->lock);
		if (quit)
			return NULL;
		if (works)
			run_member(m);
	}
}

evn_status evn_team_create(evn_team **out, const evn_team_config *config, evn_error *err)
{
	evn_team *t = *out = calloc(1, sizeof *t);
	if (!t)
		return evn_fail_memory(err, "threads", sizeof *t);
	t->config = *config;
	pthread_condattr_t monotonic;
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_mutex_init(&t->lock, NULL);
	pthread_cond_init(&t->begin, NULL);
	pthread_cond_init(&t->done, &monotonic);
	pthread_condattr_destroy(&monotonic);
	t->members = calloc(config->n_ranks, sizeof *t->members);
	if (!t->members)
		return evn_fail_memory(err, "threads", config->n_ranks * sizeof *t->members);
	for (uint32_t i = 0; i < config->n_ranks; i++) {
		member *m = &t->members[i];
		m->team = t;
		m->rank = config->first_rank + i;
		if (pthread_create(&m->thread, NULL, thread_main, m) != 0)
			return evn_fail(err, EVN_ERR_MEMORY, "could not start a thread for rank %u", m->rank);
		m->started = true;
	}
	return EVN_OK;
}

bool evn_team_free(evn_team *t)
{
	if (!t)
		return true;
	pthread_mutex_lock(&t->lock);
	const bool hangs = t->working > 0;
	t->quit = true;
	pthread_cond_broadcast(&t->begin);
	pthread_mutex_unlock(&t->lock);
	if (hangs)
		return false;
	for (uint32_t i = 0; t->members && i < t->config.n_ranks; i++)
		if (t->members[i].started)
			pthread_join(t->members[i].thread, NULL);
	pthread_cond_destroy(&t->begin);
	pthread_cond_destroy(&t->done);
	pthread_mutex_destroy(&t->lock);
	free(t->members);
	free(t);
	return true;
}

const evn_fault *evn_team_fault(const evn_team *t) { return &t->fault; }
bool evn_team_abandoned(const evn_team *t) { return t->abandoned; }

bool evn_team_has_returned(evn_team *t, uint32_t rank)
{
	pthread_mutex_lock(&t->lock);
	const bool returned = !t->members[rank - t->config.first_rank].working;
	pthread_mutex_unlock(&t->lock);
	return returned;
}

/* ---- waiting for the ranks ------------------------------------------------------------------------------------- */

/* The lock is held, except while the callbacks run. */
static void tick_once(evn_team *t, void (*tick)(void *), void *tick_arg, uint64_t *hung_ns)
{
	pthread_mutex_unlock(&t->lock);
	if (tick)
		tick(tick_arg);
	evn_fault fault;
	if (!*hung_ns && t->config.find_fault && t->config.find_fault(t->config.arg, &fault) && fault.hangs) {
		t->hang = fault; /* once the ranks are released, nothing tells any more which of them hung */
		*hung_ns = evn_now_ns();
		if (t->config.on_failure)
			t->config.on_failure(t->config.arg);
	}
	pthread_mutex_lock(&t->lock);
}

static void wait_for_all(evn_team *t, void (*tick)(void *), void *tick_arg)
{
	struct timespec until;
	uint64_t hung_ns = 0;
	clock_gettime(CLOCK_MONOTONIC, &until);
	while (t->working && !(hung_ns && evn_now_ns() - hung_ns > GRACE_NS)) {
		if (!tick && !t->config.find_fault) {
			pthread_cond_wait(&t->done, &t->lock);
			continue;
		}
		until.tv_nsec += TICK_NS;
		until.tv_sec += until.tv_nsec / 1000000000;
		until.tv_nsec %= 1000000000;
		pthread_cond_timedwait(&t->done, &t->lock, &until);
		tick_once(t, tick, tick_arg, &hung_ns);
	}
	t->abandoned = t->working > 0;
}

/* ---- whose fault it was ---------------------------------------------------------------------------------------- */

static bool has_own_error(const member *m)
{
	return !m->working && m->status != EVN_OK && m->status != EVN_ERR_CANCELLED;
}

/* The first rank that failed on its own account, otherwise the first that was cancelled. */
static const member *find_cause(const evn_team *t)
{
	const member *cause = NULL;
	for (uint32_t i = 0; i < t->config.n_ranks; i++) {
		const member *m = &t->members[i];
		if (!m->working && m->status != EVN_OK && (!cause || (!has_own_error(cause) && has_own_error(m))))
			cause = m;
	}
	return cause;
}

/* A rank that others waited for in vain. */
static bool find_late_rank(const evn_team *t, evn_fault *out)
{
	*out = t->hang;
	return out->status != EVN_OK || (t->config.find_fault && t->config.find_fault(t->config.arg, out));
}

/* Records the fault of a run. A rank that others waited for in vain is the cause, not the rank that reports it,
 * unless the former has an error of its own. The lock is held. */
static evn_status record_fault(evn_team *t)
{
	const member *cause = find_cause(t);
	if (!cause && !t->abandoned)
		return EVN_OK;
	evn_fault of_rank;
	if (find_late_rank(t, &of_rank) && !has_own_error(&t->members[of_rank.rank - t->config.first_rank]))
		t->fault = of_rank;
	else if (cause)
		t->fault = (evn_fault){.rank = cause->rank, .status = cause->status, .err = cause->err};
	if (t->config.first_rank + t->config.n_ranks > 1 && t->fault.status != EVN_ERR_CANCELLED)
		evn_fail_within(&t->fault.err, "rank %u", t->fault.rank);
	return t->fault.status;
}

evn_status evn_team_run(evn_team *t, evn_rank_fn fn, void *arg, void (*tick)(void *), void *tick_arg, evn_error *err)
{
	return evn_team_run_on(t, UINT64_MAX, fn, arg, tick, tick_arg, err);
}

evn_status evn_team_run_on(evn_team *t, uint64_t ranks, evn_rank_fn fn, void *arg, void (*tick)(void *),
						   void *tick_arg, evn_error *err)
{
	pthread_mutex_lock(&t->lock);
	evn_status status = t->fault.status;
	if (!t->abandoned) {
		t->fn = fn;
		t->arg = arg;
		t->working = 0;
		t->hang = (evn_fault){0};
		for (uint32_t i = 0; i < t->config.n_ranks; i++) {
			member *m = &t->members[i];
			m->working = ranks >> m->rank & 1;
			m->status = EVN_OK;
			t->working += m->working;
		}
		t->round++;
		pthread_cond_broadcast(&t->begin);
		wait_for_all(t, tick, tick_arg);
		status = record_fault(t);
	}
	pthread_mutex_unlock(&t->lock);
	if (status != EVN_OK && err)
		*err = t->fault.err;
	return status;
}
