/* editor.h - lines of the user: on a terminal with editing and a history, which is kept in a private file; elsewhere
 * plain lines without prompts. */
#ifndef EVN_CLI_EDITOR_H
#define EVN_CLI_EDITOR_H

#include "evener.h"

typedef struct editor editor;

typedef enum { LINE_READ, LINE_END, LINE_INTERRUPTED } line_result;

/* terminal: stdin and stdout are one, and its user is talked to. */
evn_status editor_open(editor **out, bool terminal, evn_error *err);
void editor_close(editor *e); /* saves the history */
/* *line is without its newline and valid until the next call. A line of plain input may hold any bytes; *n counts
 * them. LINE_INTERRUPTED: a signal came; look at interrupted_for_good. */
line_result editor_read(editor *e, const char *prompt, const char **line, size_t *n);
void editor_remember(editor *e, const char *text); /* in the history */

#endif
