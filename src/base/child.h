/* child.h - programs run beside this one with a time limit: what may crash or hang does it there. */
#ifndef EVN_CHILD_H
#define EVN_CHILD_H

#include "base/base.h"

typedef struct {
	const char *argv[16]; /* NULL-terminated; argv[0] NULL: nothing to run */
	const char *vendors;  /* OCL_ICD_VENDORS for it; NULL: as this process has it */
	bool in_turn;         /* it inherits the turns of all that are run with it as EVN_TURNS_FD */
	char *output;         /* its stdout, NUL-terminated, cut at a limit; freed by the caller */
	bool started, timed_out;
	int status; /* as from waitpid */
} evn_child;

/* Asked about ten times a second whether to go on waiting; false ends the children as the time limit would. */
typedef struct {
	bool (*go_on)(void *user);
	void *user;
} evn_patience;

/* Runs all at once, each in a process group of its own that is killed when limit_ns have passed. p may be NULL. */
void evn_children_run(evn_child *children, size_t n, uint64_t limit_ns, const evn_patience *p);
/* evener-probe beside this library or program, in libexec, or on PATH; malloc'd, NULL when there is none. */
char *evn_find_probe(void);

/* In a child that was started in_turn: waits for its first turn, which lasts until it is passed or the process ends.
 * Another process that waits for its turn has it before evn_turn_pass returns; nothing happens in one that never
 * joined. */
#define EVN_TURNS_FD 3
void evn_turns_join(void);
void evn_turn_pass(void);

#endif
