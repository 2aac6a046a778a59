/* interrupt.h - Ctrl-C and SIGTERM: the first asks the work to stop, a second one ends the process at once, and
 * where the work does not stop by itself the process ends after a second and a half. */
#ifndef EVN_CLI_INTERRUPT_H
#define EVN_CLI_INTERRUPT_H

#include <stdbool.h>

#define EXIT_INTERRUPTED 130

void interrupt_start(void);
bool interrupted(void);

#endif
