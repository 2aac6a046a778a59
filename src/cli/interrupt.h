/* interrupt.h - Ctrl-C, SIGTERM and the end of the terminal. The first signal asks the work to stop. If it does not
 * stop in time, the process ends, and so do its children. A second signal ends them at once. */
#ifndef EVN_CLI_INTERRUPT_H
#define EVN_CLI_INTERRUPT_H

#include <stdbool.h>

#define EXIT_INTERRUPTED 130

void interrupt_start(void); /* the work has 0.1 s to stop */
/* From now on there is something to save or to print: the work has a second and a half to stop. */
void interrupt_saves(void);
/* From now on clients are served. A signal is the way to end that: the work has a minute, and calls
 * interrupt_done when it has stopped as asked. Call it before there are other threads: a thread takes the signals,
 * and all others block them. Else handlers of LLVM would run in front of ours, which remove the files of the kernel
 * that is being compiled, and so fail requests that have time to end. */
void interrupt_serves(void);
/* Node 0 decides when this node ends, and has ten seconds. */
void interrupt_follows(void);
/* From now on SIGINT ends an answer and not the program, as long as interrupt_done follows. A signal ends a read of
 * the terminal. */
void interrupt_answers(void);
bool interrupted(void);
bool interrupted_for_good(void); /* by another signal than SIGINT, or without interrupt_answers */
void interrupt_done(void);       /* the program goes on as if nothing had been */

#endif
