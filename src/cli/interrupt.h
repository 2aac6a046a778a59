/* interrupt.h - Ctrl-C and SIGTERM. The first signal asks the work to stop. If it does not stop, the process ends
 * after a second and a half. A second signal ends the process at once. */
#ifndef EVN_CLI_INTERRUPT_H
#define EVN_CLI_INTERRUPT_H

#include <stdbool.h>

#define EXIT_INTERRUPTED 130

void interrupt_start(void);
bool interrupted(void);

#endif
