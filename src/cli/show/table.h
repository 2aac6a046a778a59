/* table.h - columns for people: cells are collected, widths found, then all is printed. */
#ifndef EVN_CLI_TABLE_H
#define EVN_CLI_TABLE_H

#include "base/base.h"

typedef struct {
	const char *align; /* a letter a column: 'l' or 'r' */
	char **cells;
	size_t n;
	bool failed;
} table;

table table_start(const char *align);
void table_cell(table *t, const char *fmt, ...) EVN_PRINTF(2, 3); /* row by row */
evn_status table_print(table *t, evn_error *err);                 /* on stdout; also frees */

#endif
