/* text.h - text for people: sizes in words, nothing that moves a cursor, the known word that is nearest to a misspelt
 * one. */
#ifndef EVN_CLI_TEXT_H
#define EVN_CLI_TEXT_H

#include "base/base.h"

/* Replaces control characters by '?', in place. File names and strings of models and drivers may hold anything. */
void text_printable(char *s);
/* Writes "105.4 MB", in powers of 1000, as for file sizes and GB/s. */
const char *text_bytes(uint64_t bytes, char *buffer, size_t size);
/* The one of `words` (NULL-terminated) that `word` most likely meant. NULL if none is near. */
const char *text_nearest(const char *word, const char *const *words);
/* Writes how and when rates were measured: "a short trial, 3 minutes ago, repetitions differ by 8 %". */
const char *text_measured(const evn_measured *m, char *buffer, size_t size);
/* Reads what evn_read_file does not read: stdin (path NULL) and pipes. An empty file is no error. malloc'd, with a
 * NUL after the end. More than `limit` bytes is EVN_ERR_LIMIT. */
evn_status text_read(char **out, size_t *size, const char *path, size_t limit, evn_error *err);
/* An error if no file can be made at `path`, which is not touched. */
evn_status text_check_writable(const char *path, evn_error *err);

#endif
