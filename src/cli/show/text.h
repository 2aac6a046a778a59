/* text.h - text made fit for people: sizes in words, nothing that moves a cursor, the nearest known word to a
 * misspelt one. */
#ifndef EVN_CLI_TEXT_H
#define EVN_CLI_TEXT_H

#include "base/base.h"

/* Control characters become '?', in place: file names and strings of models and drivers may hold anything. */
void text_printable(char *s);
/* "105.4 MB" in powers of 1000, as file sizes and GB/s are given. */
const char *text_bytes(uint64_t bytes, char *buffer, size_t size);
/* The one of `words` (NULL-terminated) that `word` most likely meant, or NULL when none is near. */
const char *text_nearest(const char *word, const char *const *words);
/* What evn_read_file does not read: stdin (path NULL) and pipes, and an empty file is no error. malloc'd, NUL after
 * the end; more than `limit` bytes is EVN_ERR_LIMIT. */
evn_status text_read(char **out, size_t *size, const char *path, size_t limit, evn_error *err);

#endif
