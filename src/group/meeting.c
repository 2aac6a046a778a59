#include "group/meeting.h"

/* Looks this often before sleeping: about two microseconds, less than a sleep and wake costs. Longer would take a
 * core from a CPU device that computes. */
#define LOOKS 200

void evn_meeting_init(evn_meeting *m, uint32_t members)
{
	m->members = members;
	atomic_init(&m->arrived, 0);
	atomic_init(&m->round, 0);
	atomic_init(&m->given_up, false);
	pthread_mutex_init(&m->lock, NULL);
	pthread_cond_init(&m->changed, NULL);
}

void evn_meeting_destroy(evn_meeting *m)
{
	pthread_mutex_destroy(&m->lock);
	pthread_cond_destroy(&m->changed);
}

/* The lock around the store orders it against a sleeper between its look and its sleep. */
static void wake(evn_meeting *m)
{
	pthread_mutex_lock(&m->lock);
	pthread_cond_broadcast(&m->changed);
	pthread_mutex_unlock(&m->lock);
}

static bool over(evn_meeting *m, unsigned round)
{
	return atomic_load(&m->round) != round || atomic_load(&m->given_up);
}

bool evn_meeting_wait(evn_meeting *m)
{
	unsigned round = atomic_load(&m->round);
	if (atomic_fetch_add(&m->arrived, 1) + 1 == m->members) {
		atomic_store(&m->arrived, 0);
		atomic_fetch_add(&m->round, 1);
		wake(m);
	} else {
		for (int i = 0; i < LOOKS && !over(m, round); i++)
			;
		pthread_mutex_lock(&m->lock);
		while (!over(m, round))
			pthread_cond_wait(&m->changed, &m->lock);
		pthread_mutex_unlock(&m->lock);
	}
	return !atomic_load(&m->given_up);
}

void evn_meeting_give_up(evn_meeting *m)
{
	atomic_store(&m->given_up, true);
	wake(m);
}

void evn_meeting_reset(evn_meeting *m)
{
	atomic_store(&m->arrived, 0);
	atomic_store(&m->given_up, false);
}
