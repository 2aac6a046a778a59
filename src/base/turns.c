/* turns.c - the time-slice lock. Processes that measure the same machine alternate in short slices, so that they do
 * not disturb each other and a slower machine slows all of them alike. The lock is a lock on an inherited file. The
 * system releases it when a process dies. */
#include "base/child.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <time.h>

#define HANDOVER_NS 1000000 /* the time for a waiting process to wake up and take the lock */

static int turns = -1; /* the inherited file; -1: this process does not share the machine */

/* If locks do not work, the process measures without them. */
static void lock(short type)
{
	struct flock l = {.l_type = type, .l_whence = SEEK_SET};
	int code = 0;
	do
		code = fcntl(turns, F_SETLKW, &l);
	while (code < 0 && errno == EINTR);
	if (code < 0)
		turns = -1;
}

void evn_turns_join(void)
{
	turns = EVN_TURNS_FD;
	fcntl(turns, F_SETFD, FD_CLOEXEC);
	lock(F_WRLCK);
}

void evn_turn_pass(void)
{
	if (turns >= 0)
		lock(F_UNLCK);
	if (turns < 0)
		return;
	nanosleep(&(struct timespec){.tv_nsec = HANDOVER_NS}, NULL);
	lock(F_WRLCK);
}
