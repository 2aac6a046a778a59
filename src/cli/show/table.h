/* table.h - tables for people. Cells are collected, widths are computed, then everything is printed. */
#ifndef EVN_CLI_TABLE_H
#define EVN_CLI_TABLE_H

#include "base/base.h"

typedef struct {
	const char *align; /* one letter for each column: 'l' or 'r' */
	char **cells;
	size_t n;
	bool failed;
} table;

table table_start(const char *align);
void table_cell(table *t, const char *fmt, ...) EVN_PRINTF(2, 3); /* row by row */
evn_status table_print(table *t, evn_error *err);                 /* prints to stdout and frees the table */

#endif
