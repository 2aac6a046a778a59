/* prompt.h - where a prompt comes from: -p or the config, a file, or standard input when something is piped in. */
#ifndef EVN_CLI_PROMPT_H
#define EVN_CLI_PROMPT_H

#include "cli/config/settings.h"

/* malloc'd, any bytes. strip_newline: as editors end files and echo ends lines with one that is not meant, one
 * newline at the end of a file or of stdin is left out. */
evn_status prompt_read(const settings *s, bool strip_newline, char **text, size_t *n, evn_error *err);

#endif
