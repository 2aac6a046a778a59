/* console.h - everything that goes to stderr: error lines, the library's messages, notes, and one progress bar for
 * work that takes longer than two seconds. stdout belongs to results. */
#ifndef EVN_CLI_CONSOLE_H
#define EVN_CLI_CONSOLE_H

#include "base/base.h"

/* quiet: no notes, no progress; errors and warnings still come. Also takes the library's log. */
void console_start(bool quiet);
void console_error(const char *text);                     /* "evener: text" */
void console_note(const char *fmt, ...) EVN_PRINTF(1, 2); /* a line, unless quiet */

/* An evn_progress_fn: on a terminal a bar, ten times a second at most (NO_COLOR honoured); elsewhere a line for each
 * 10 %. False once the user interrupted. */
bool console_progress(void *user, const char *what, uint64_t done, uint64_t total);
/* What the bar tells besides, in place of the pace, until console_progress_end. */
void console_progress_note(const char *fmt, ...) EVN_PRINTF(1, 2);
void console_progress_end(void); /* takes the bar away */

#endif
