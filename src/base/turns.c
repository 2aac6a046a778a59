/* turns.c - the time-slice lock. Processes that measure the same machine alternate in short slices, so that they do
 * not disturb each other and a slower machine slows all of them alike. The lock is a lock on an inherited file. The
 * system releases it when a process dies.
 *
 * A process that waits for the turn holds a second lock, the gate, until it has the turn. A process that passes the
 * turn must take the gate before it can have the turn again, so the waiting process always comes first. */
#include "base/child.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

enum { TURN, GATE }; /* bytes of the file */

static int turns = -1; /* the inherited file; -1: this process does not share the machine */

/* If locks do not work, the process measures without them. */
static void lock(off_t byte, short type)
{
	struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
	int code = 0;
	do
		code = fcntl(turns, F_SETLKW, &l);
	while (code < 0 && errno == EINTR);
	if (code < 0)
		turns = -1;
}

static void take(void)
{
	lock(GATE, F_WRLCK);
	lock(TURN, F_WRLCK);
	lock(GATE, F_UNLCK);
}

void evn_turns_join(void)
{
	turns = EVN_TURNS_FD;
	fcntl(turns, F_SETFD, FD_CLOEXEC);
	take();
}

void evn_turn_pass(void)
{
	if (turns < 0)
		return;
	lock(TURN, F_UNLCK);
	take();
}
