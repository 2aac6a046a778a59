/* journal.h - the file beside the result in which finished pieces are kept until all are finished, so that a run that
 * was stopped or killed continues.
 *
 * Its first line says what the records depend on. Each further line is the number of a piece, a tab, and its record,
 * one line of JSON. Lines are only appended. A line that a crash has cut off is dropped when the file is opened. One
 * process at a time has the file. */
#ifndef EVN_CLI_JOURNAL_H
#define EVN_CLI_JOURNAL_H

#include "evener.h"

typedef struct {
	uint64_t model, settings, input; /* what they are, as hashes */
	size_t n_pieces;
	int64_t seed;       /* that answers are drawn with; asked for as -1: any */
	int64_t fresh_seed; /* for a file that begins, if any is asked for */
	int64_t began;      /* when, in seconds since 1970 */
} journal_head;

typedef struct journal journal;

/* Begins the file, or continues one that was begun with the same model, settings and input; one that was begun with
 * others is EVN_ERR_USAGE, unless `restart`: then the file begins anew. */
evn_status journal_open(journal **out, const char *path, const journal_head *head, bool restart, evn_error *err);
void journal_close(journal *j);
void journal_remove(journal *j); /* closes it and removes the file */

const journal_head *journal_get_head(const journal *j); /* of the file: its seed, when it was begun */
bool journal_has(const journal *j, size_t piece);
size_t journal_count(const journal *j);

/* record: without a newline. It is kept for sure after journal_sync. */
evn_status journal_add(journal *j, size_t piece, const char *record, evn_error *err);
evn_status journal_sync(journal *j, evn_error *err);
/* The record of a piece that it has, malloc'd and NUL-terminated. */
evn_status journal_read(const journal *j, size_t piece, char **record, size_t *bytes, evn_error *err);

#endif
