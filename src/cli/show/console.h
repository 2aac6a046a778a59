/* console.h - everything that goes to stderr: error lines, the library's messages, notes, and one progress bar for
 * work that takes longer than two seconds. stdout is for results. */
#ifndef EVN_CLI_CONSOLE_H
#define EVN_CLI_CONSOLE_H

#include "base/base.h"

/* Also receives the library's log. quiet: no notes and no progress; errors and warnings still come. */
void console_start(bool quiet);
void console_error(const char *text);                     /* "evener: text" */
void console_note(const char *fmt, ...) EVN_PRINTF(1, 2); /* a line, unless quiet */

/* An evn_progress_fn. On a terminal it draws a bar at most ten times a second (NO_COLOR is honoured); elsewhere it
 * prints a line for each 10 %. False after the user interrupted. */
bool console_progress(void *user, const char *what, uint64_t done, uint64_t total);
/* Text that the bar shows in place of the pace, until console_progress_end. */
void console_progress_note(const char *fmt, ...) EVN_PRINTF(1, 2);
void console_progress_end(void); /* removes the bar */

#endif
