/* console.h - everything that goes to stderr: error lines, the library's messages, notes, and one progress bar for
 * work that takes longer than two seconds. stdout is for results. */
#ifndef EVN_CLI_CONSOLE_H
#define EVN_CLI_CONSOLE_H

#include "base/base.h"

/* Also receives the library's log. quiet: no notes and no progress; errors and warnings still come. */
void console_start(bool quiet);
void console_error(const char *text); /* "evener: text" */
/* Part of a result was printed on stdout and flushed. Where both streams go to the same place, the next line on
 * stderr begins with a newline if the text does not end in one. */
void console_printed(const char *text);
/* An error if stdout did not take what was printed. */
evn_status console_check_output(evn_error *err);
void console_print_end(void);                             /* on a terminal the result ends with a newline */
void console_note(const char *fmt, ...) EVN_PRINTF(1, 2); /* a line, unless quiet */

/* An evn_progress_fn. On a terminal it draws a bar at most ten times a second, and only what has changed (NO_COLOR is
 * honoured); elsewhere it prints a line for each 10 %. False after the user interrupted. */
bool console_progress(void *user, const char *what, uint64_t done, uint64_t total);
/* Text that the bar shows in place of the pace, until console_progress_end. */
void console_progress_note(const char *fmt, ...) EVN_PRINTF(1, 2);
void console_progress_end(void); /* removes the bar */
void console_abandon(void);      /* the same in a signal handler, before _exit */

#endif
