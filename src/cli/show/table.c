/* table.c - see table.h. */
#include "cli/show/table.h"
#include "cli/show/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

table table_start(const char *align) { return (table){.align = align}; }

void table_cell(table *t, const char *fmt, ...)
{
	char **larger = realloc(t->cells, (t->n + 1) * sizeof *t->cells);
	char *text = NULL;
	va_list args;
	va_start(args, fmt);
	if (vasprintf(&text, fmt, args) < 0)
		text = NULL;
	va_end(args);
	if (larger)
		t->cells = larger;
	if (!larger || !text) {
		free(text);
		t->failed = true;
		return;
	}
	text_printable(text);
	t->cells[t->n++] = text;
}

/* The width on a terminal: characters, not bytes. */
static size_t width(const char *s)
{
	size_t n = 0;
	for (; *s; s++)
		n += (*s & 0xc0) != 0x80;
	return n;
}

static void print_cell(const char *text, char align, size_t column_width, bool last)
{
	int padding = (int)(column_width - width(text));
	if (align == 'r')
		printf("%*s%s", padding, "", text);
	else
		printf("%s%*s", text, last ? 0 : padding, "");
	fputs(last ? "\n" : "  ", stdout);
}

evn_status table_print(table *t, evn_error *err)
{
	enum { MAX_COLUMNS = 16 };
	size_t columns = strlen(t->align), widths[MAX_COLUMNS] = {0};
	for (size_t i = 0; i < t->n; i++) {
		size_t w = width(t->cells[i]);
		if (w > widths[i % columns])
			widths[i % columns] = w;
	}
	for (size_t i = 0; i < t->n && !t->failed; i++)
		print_cell(t->cells[i], t->align[i % columns], widths[i % columns], i % columns + 1 == columns);
	for (size_t i = 0; i < t->n; i++)
		free(t->cells[i]);
	free(t->cells);
	evn_status status = t->failed ? evn_fail_memory(err, "a table", 0) : EVN_OK;
	*t = (table){0};
	return status;
}
