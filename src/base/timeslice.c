/* timeslice.c - the time-slice lock. Processes that measure the same machine alternate in short slices, so that they
 * do not disturb each other and a slower machine slows all of them alike. The lock is a lock on an inherited file.
 * The system releases it when a process dies.
 *
 * A process that waits for its slice holds a second lock, the gate, until it has the slice. A process that passes the
 * slice must take the gate before it can have the next one, so the waiting process always comes first. */
#include "base/child.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

enum { SLICE, GATE }; /* bytes of the file */

static int lock_file = -1; /* the inherited file; -1: this process does not share the machine */

/* If locks do not work, the process measures without them. */
static void set_lock(off_t byte, short type)
{
	struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
	int code = 0;
	do
		code = fcntl(lock_file, F_SETLKW, &l);
	while (code < 0 && errno == EINTR);
	if (code < 0)
		lock_file = -1;
}

static void wait_for_slice(void)
{
	set_lock(GATE, F_WRLCK);
	set_lock(SLICE, F_WRLCK);
	set_lock(GATE, F_UNLCK);
}

void evn_timeslice_join(void)
{
	lock_file = EVN_TIMESLICE_FD;
	fcntl(lock_file, F_SETFD, FD_CLOEXEC);
	wait_for_slice();
}

void evn_timeslice_pass(void)
{
	if (lock_file < 0)
		return;
	set_lock(SLICE, F_UNLCK);
	wait_for_slice();
}
