/* meeting.h - a barrier for host threads that may fail: a member that gives up releases all others. */
#ifndef EVN_MEETING_H
#define EVN_MEETING_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct {
	uint32_t members;
	atomic_uint arrived;
	atomic_uint round;
	atomic_bool given_up;
	pthread_mutex_t lock;
	pthread_cond_t changed;
} evn_meeting;

void evn_meeting_init(evn_meeting *m, uint32_t members);
void evn_meeting_destroy(evn_meeting *m);
/* True when all members came; false when one gave up. */
bool evn_meeting_wait(evn_meeting *m);
void evn_meeting_give_up(evn_meeting *m);
void evn_meeting_reset(evn_meeting *m);

#endif
