/* prompt.h - reads a prompt from -p or the config, from a file, or from standard input if something is piped in. */
#ifndef EVN_CLI_PROMPT_H
#define EVN_CLI_PROMPT_H

#include "cli/config/settings.h"

/* malloc'd; any bytes. strip_newline: drop one newline at the end of a file or of stdin, because editors and echo add
 * one that is not meant. */
evn_status prompt_read(const settings *s, bool strip_newline, char **text, size_t *n, evn_error *err);

#endif
