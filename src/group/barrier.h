/* barrier.h - a barrier for host threads that can fail. It releases all members if one cancels, or if one does not
 * arrive within the deadline. */
#ifndef EVN_BARRIER_H
#define EVN_BARRIER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct {
	uint32_t members;  /* at most 64 */
	uint64_t expected; /* one bit for each member that is waited for */
	uint64_t deadline_ms;
	atomic_uint arrived;
	atomic_uint round;
	atomic_uint *rounds; /* (members) the number of barriers that each member has reached since the last reset */
	atomic_bool cancelled;
	atomic_int late; /* the first member that missed the deadline, or -1 */
	pthread_mutex_t lock;
	pthread_cond_t changed;
} evn_barrier;

/* False if there is no memory. Then only evn_barrier_destroy may follow. */
bool evn_barrier_init(evn_barrier *b, uint32_t members, uint64_t deadline_ms);
void evn_barrier_destroy(evn_barrier *b);
/* True when all members have arrived. False if a member cancelled or did not arrive within the deadline. */
bool evn_barrier_wait(evn_barrier *b, uint32_t member);
void evn_barrier_cancel(evn_barrier *b);
/* No member may be waiting. */
void evn_barrier_reset(evn_barrier *b);
/* From now on it waits for these members, the only ones that may wait. At first for all. No member may be waiting. */
void evn_barrier_expect(evn_barrier *b, uint64_t members);

#endif
