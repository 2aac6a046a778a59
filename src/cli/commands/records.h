/* records.h - records of a CSV file (RFC 4180: a line with the names of the columns, fields that may be quoted) as
 * texts: "name: value; name: value", without the column of the classes and without empty values. */
#ifndef EVN_CLI_RECORDS_H
#define EVN_CLI_RECORDS_H

#include "base/base.h"

typedef struct {
	size_t n;
	char **texts;   /* (n) */
	char **classes; /* (n), as the file has them; NULL: it has no such column */
	char **images;  /* (n) the values of the column "image"; NULL: it has no such column */
} records;

/* csv (n bytes, and a NUL behind them) is changed. label: the column of the classes; NULL: the last one if
 * `labelled`, else none. A label that is no column is an error if `labelled`. */
evn_status records_read(records *out, char *csv, size_t n, const char *label, bool labelled, const char *file,
						evn_error *err);
void records_free(records *r);

#endif
