/* output.h - writes the result of a batch from its journal: the records in the input's order (.jsonl), or the answers
 * with the white space of the text between them. */
#ifndef EVN_CLI_OUTPUT_H
#define EVN_CLI_OUTPUT_H

#include "cli/batch/input.h"
#include "cli/batch/journal.h"

typedef struct {
	size_t n_failed;
	size_t first; /* that failed */
	char why[256];
} failures;

bool writes_records(const char *path);
/* Replaces the file at path as a whole. */
evn_status output_write(const char *path, const batch_input *in, const journal *j, failures *f, evn_error *err);

#endif
