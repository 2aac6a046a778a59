/* turns.c - processes that measure one machine do it in turn, so that none disturbs another, and a machine that slows
 * down slows all alike. Their turn is the lock of a file that they inherit: the system takes it from one that dies.
 */
#include "base/child.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <time.h>

#define HANDOVER_NS 1000000 /* for one that waits to wake and take the lock */

static int turns = -1; /* of this process; -1: it has the machine for itself */

/* Without locks the process goes on by itself. */
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
