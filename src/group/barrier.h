/* barrier.h - a barrier for host threads that may fail: a member that cancels releases all others. */
#ifndef EVN_BARRIER_H
#define EVN_BARRIER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct {
	uint32_t members;
	atomic_uint arrived;
	atomic_uint round;
	atomic_bool cancelled;
	pthread_mutex_t lock;
	pthread_cond_t changed;
} evn_barrier;

void evn_barrier_init(evn_barrier *b, uint32_t members);
void evn_barrier_destroy(evn_barrier *b);
/* True when all members have arrived; false when one cancelled. */
bool evn_barrier_wait(evn_barrier *b);
void evn_barrier_cancel(evn_barrier *b);
void evn_barrier_reset(evn_barrier *b);

#endif
