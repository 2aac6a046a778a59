/* unicode.h - the character classes of tokenizer families, as Unicode 16.0 defines them, like the families' own
 * tools. Those of PCRE2 depend on its version, so the same text would have other tokens on another system; and its \s
 * holds U+180E, which has been no white space since Unicode 6.3. */
#ifndef EVN_UNICODE_H
#define EVN_UNICODE_H

#include "base/base.h"

/* The pattern with each of its classes (\s, \S, \p{L}, ...) spelled out for PCRE2; free it. A class that is not
 * defined here is an error. */
evn_status evn_unicode_pattern(char **out, const char *pattern, evn_error *err);

#endif
