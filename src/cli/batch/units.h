/* units.h - where lines, paragraphs, sentences, words and characters of a text begin and end. Bytes that are not
 * UTF-8 are characters of one byte. */
#ifndef EVN_CLI_UNITS_H
#define EVN_CLI_UNITS_H

#include "cli/batch/cut.h"

#define NO_CHARACTER (-1)

/* The character at text[at], at < bytes, and its length; NO_CHARACTER for a byte that is not UTF-8. */
int32_t character_at(const char *text, size_t bytes, size_t at, size_t *length);
/* White space that a line may be broken at: not a no-break space. A byte order mark is one. */
bool is_space(int32_t c);
size_t skip_space(const char *text, size_t bytes, size_t at);

/* Finds the first unit that begins at `from` or later. False if only white space is left. */
bool next_unit(text_range *unit, const char *text, size_t bytes, size_t from, cut_units units);

/* The end of the run of sentence terminators and closing quotes or brackets at text[at], or `at` if there is none.
 * *ends: a sentence that began at `begin` ends there. In doubt it does not. */
size_t sentence_end(const char *text, size_t bytes, size_t begin, size_t at, bool *ends);

/* The ends of the words (else of the characters, as a reader sees them) of text[range], malloc'd. False: no memory.
 */
bool find_ends(size_t **ends, size_t *n, const char *text, text_range range, bool words);

#endif
