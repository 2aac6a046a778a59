/* token.h - tokens and other bytes as they can be shown on one line. */
#ifndef EVN_CLI_TOKEN_H
#define EVN_CLI_TOKEN_H

#include "evener.h"

/* Any bytes as UTF-8 without control characters: a line's end as \n, what is no text as \xC3, a space as `blank`.
 * What is too long for `out` is cut. */
void visible_text(char *out, size_t size, const char *text, size_t bytes, const char *blank);
/* The token's text, a space as ␣, or its id where it has none. */
void token_name(char *out, size_t size, const evn_model *m, int32_t id);

#endif
