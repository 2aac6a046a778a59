/* token.h - shows tokens and other bytes on one line. */
#ifndef EVN_CLI_TOKEN_H
#define EVN_CLI_TOKEN_H

#include "evener.h"

/* Writes any bytes as UTF-8 without control characters: an end of line as \n, bytes that are no text as \xC3, a space
 * as `blank`. Cuts what is too long for `out`. */
void visible_text(char *out, size_t size, const char *text, size_t bytes, const char *blank);
/* Writes the token's text with ␣ for a space, or its id if it has no text. */
void token_name(char *out, size_t size, const evn_model *m, int32_t id);

#endif
