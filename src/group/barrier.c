#include "group/barrier.h"

/* Looks this often before sleeping: about two microseconds, less than a sleep and wake costs. Longer would take a
 * core from a CPU device that computes. */
#define LOOKS 200

void evn_barrier_init(evn_barrier *b, uint32_t members)
{
	b->members = members;
	atomic_init(&b->arrived, 0);
	atomic_init(&b->round, 0);
	atomic_init(&b->cancelled, false);
	pthread_mutex_init(&b->lock, NULL);
	pthread_cond_init(&b->changed, NULL);
}

void evn_barrier_destroy(evn_barrier *b)
{
	pthread_mutex_destroy(&b->lock);
	pthread_cond_destroy(&b->changed);
}

/* The lock around the store orders it against a sleeper between its look and its sleep. */
static void wake(evn_barrier *b)
{
	pthread_mutex_lock(&b->lock);
	pthread_cond_broadcast(&b->changed);
	pthread_mutex_unlock(&b->lock);
}

static bool over(evn_barrier *b, unsigned round)
{
	return atomic_load(&b->round) != round || atomic_load(&b->cancelled);
}

bool evn_barrier_wait(evn_barrier *b)
{
	unsigned round = atomic_load(&b->round);
	if (atomic_fetch_add(&b->arrived, 1) + 1 == b->members) {
		atomic_store(&b->arrived, 0);
		atomic_fetch_add(&b->round, 1);
		wake(b);
	} else {
		for (int i = 0; i < LOOKS && !over(b, round); i++)
			;
		pthread_mutex_lock(&b->lock);
		while (!over(b, round))
			pthread_cond_wait(&b->changed, &b->lock);
		pthread_mutex_unlock(&b->lock);
	}
	return !atomic_load(&b->cancelled);
}

void evn_barrier_cancel(evn_barrier *b)
{
	atomic_store(&b->cancelled, true);
	wake(b);
}

void evn_barrier_reset(evn_barrier *b)
{
	atomic_store(&b->arrived, 0);
	atomic_store(&b->cancelled, false);
}
