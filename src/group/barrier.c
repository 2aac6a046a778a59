#include "group/barrier.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

/* Polls this often before it sleeps: about two microseconds, less than sleeping and waking costs. A longer spin would
 * take a core from a CPU device that computes. */
#define POLLS 200

bool evn_barrier_init(evn_barrier *b, uint32_t members, uint64_t deadline_ms)
{
	pthread_condattr_t monotonic;
	b->members = members;
	b->expected = members ? UINT64_MAX >> (64 - members) : 0;
	b->deadline_ms = deadline_ms;
	b->rounds = calloc(members, sizeof *b->rounds);
	atomic_init(&b->arrived, 0);
	atomic_init(&b->round, 0);
	atomic_init(&b->cancelled, false);
	atomic_init(&b->late, -1);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_mutex_init(&b->lock, NULL);
	pthread_cond_init(&b->changed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	return b->rounds;
}

void evn_barrier_destroy(evn_barrier *b)
{
	pthread_mutex_destroy(&b->lock);
	pthread_cond_destroy(&b->changed);
	free(b->rounds);
}

/* Taking the lock makes sure that no member is between its last check and its sleep, where it would miss the
 * broadcast. */
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

/* False if the deadline has passed. */
static bool sleep_until_over(evn_barrier *b, unsigned round)
{
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += (time_t)(b->deadline_ms / 1000);
	until.tv_nsec += (long)(b->deadline_ms % 1000) * 1000000;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	int code = 0;
	pthread_mutex_lock(&b->lock);
	while (!over(b, round) && code != ETIMEDOUT)
		code = pthread_cond_timedwait(&b->changed, &b->lock, &until);
	const bool in_time = over(b, round);
	pthread_mutex_unlock(&b->lock);
	return in_time;
}

static void name_late(evn_barrier *b, uint32_t member)
{
	const unsigned here = atomic_load(&b->rounds[member]);
	int nobody = -1;
	for (uint32_t i = 0; i < b->members; i++)
		if (b->expected >> i & 1 && atomic_load(&b->rounds[i]) != here) {
			atomic_compare_exchange_strong(&b->late, &nobody, (int)i);
			break;
		}
	evn_barrier_cancel(b);
}

bool evn_barrier_wait(evn_barrier *b, uint32_t member)
{
	const unsigned round = atomic_load(&b->round);
	atomic_fetch_add(&b->rounds[member], 1);
	if (atomic_fetch_add(&b->arrived, 1) + 1 == (unsigned)__builtin_popcountll(b->expected)) {
		atomic_store(&b->arrived, 0);
		atomic_fetch_add(&b->round, 1);
		wake(b);
	} else {
		for (int i = 0; i < POLLS && !over(b, round); i++)
			;
		if (!over(b, round) && !sleep_until_over(b, round))
			name_late(b, member);
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
	for (uint32_t i = 0; i < b->members; i++)
		atomic_store(&b->rounds[i], 0);
	atomic_store(&b->late, -1);
	atomic_store(&b->cancelled, false);
}

void evn_barrier_expect(evn_barrier *b, uint64_t members)
{
	evn_barrier_reset(b);
	b->expected = members;
}
