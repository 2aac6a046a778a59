/* text.h - failing with one line, and text made fit for people: sizes in words, nothing that moves a cursor, the
 * nearest known word to a misspelt one. */
#ifndef EVN_CLI_TEXT_H
#define EVN_CLI_TEXT_H

#include "base/base.h"
#include <stdio.h>

/* Writes code and text to err (may be NULL) and returns the code. */
evn_status cli_fail(evn_error *err, evn_status code, const char *fmt, ...) EVN_PRINTF(3, 4);
/* Puts "text: " before the message that err holds; returns its code. */
evn_status cli_fail_within(evn_error *err, const char *fmt, ...) EVN_PRINTF(2, 3);
evn_status cli_fail_memory(evn_error *err, const char *what);

char *text_format(const char *fmt, ...) EVN_PRINTF(1, 2); /* malloc'd; NULL when out of memory */

/* Control characters become '?', in place: file names and strings of models and drivers may hold anything. */
void text_printable(char *s);
/* "105.4 MB" in powers of 1000, as file sizes and GB/s are given. */
const char *text_bytes(uint64_t bytes, char *buffer, size_t size);
/* The one of `words` (NULL-terminated) that `word` most likely meant, or NULL when none is near. */
const char *text_nearest(const char *word, const char *const *words);
/* A whole file or stream, malloc'd, NUL after its end; more than `limit` bytes is EVN_ERR_LIMIT. `name` is for
 * messages; path NULL reads stdin. */
evn_status text_read(char **out, size_t *size, const char *path, size_t limit, evn_error *err);

#endif
