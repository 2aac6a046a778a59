/* child.h - runs child processes with a time limit. Code that may crash or hang runs in a child. */
#ifndef EVN_CHILD_H
#define EVN_CHILD_H

#include "base/base.h"

typedef struct {
	const char *argv[32]; /* NULL-terminated; argv[0] NULL: nothing to run */
	const char *vendors;  /* its OCL_ICD_VENDORS; NULL: the same as in this process */
	bool time_sliced;     /* it inherits the time-slice lock of this run as EVN_TIMESLICE_FD */
	char *output;         /* its stdout, NUL-terminated, cut at a limit; the caller frees it */
	bool started, timed_out;
	int status; /* as from waitpid */
} evn_child;

/* go_on is asked about ten times a second whether to continue waiting. If it returns false, the children end as at
 * the time limit. */
typedef struct {
	bool (*go_on)(void *user);
	void *user;
} evn_patience;

/* Runs all children at the same time, each in its own process group. Kills the groups after limit_ns. p may be NULL.
 */
void evn_children_run(evn_child *children, size_t n, uint64_t limit_ns, const evn_patience *p);
/* For a signal handler that ends this process: kills the children that run now, with their groups, and waits for
 * them. */
void evn_children_kill(void);
/* Looks for evener-probe beside this library or program, in libexec, and on PATH. malloc'd; NULL if there is none. */
char *evn_find_probe(void);

/* The time-slice lock, for a child that was started with time_sliced. evn_timeslice_join waits for the lock. The
 * child keeps it until evn_timeslice_pass or until the process ends. A process that waits for the lock gets it before
 * evn_timeslice_pass returns. Without a join evn_timeslice_pass does nothing. */
#define EVN_TIMESLICE_FD 3
void evn_timeslice_join(void);
void evn_timeslice_pass(void);

#endif
