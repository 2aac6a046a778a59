#include "cli/commands/kernel_times.h"

#include "base/base.h"
#include "cli/show/table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
	kernel_times *to;
	const char *phase;
	double n_steps;
} taking;

static void take(void *user, const evn_kernel_time *k)
{
	const taking *t = user;
	kernel_times *to = t->to;
	kernel_time *rows = realloc(to->rows, (to->n + 1) * sizeof *rows);
	to->failed |= !rows;
	if (!rows)
		return;
	to->rows = rows;
	rows[to->n] =
		(kernel_time){t->phase, k->rank, evn_strdup(k->kernel), (double)k->launches / t->n_steps, k->us / t->n_steps};
	to->failed |= !rows[to->n].kernel;
	to->n += rows[to->n].kernel != NULL;
}

static int slowest_first(const void *a, const void *b)
{
	const kernel_time *x = a, *y = b;
	if (x->rank != y->rank)
		return x->rank < y->rank ? -1 : 1;
	return (x->us < y->us) - (x->us > y->us);
}

void kernel_times_take(kernel_times *t, const evn_engine *e, const char *phase, double n_steps)
{
	const size_t before = t->n;
	evn_engine_kernel_times(e, take, &(taking){t, phase, n_steps});
	if (t->n > before)
		qsort(t->rows + before, t->n - before, sizeof *t->rows, slowest_first);
}

json_t *kernel_times_json(const kernel_times *t)
{
	json_t *list = t->failed ? NULL : json_array();
	for (size_t i = 0; i < t->n; i++) {
		const kernel_time *k = &t->rows[i];
		json_push(&list,
				  json_pack("{s:s, s:I, s:o, s:o, s:o}", "phase", k->phase, "rank", (json_int_t)k->rank, "kernel",
							json_text(k->kernel), "launches", json_number(k->launches), "us", json_number(k->us)));
	}
	return list;
}

evn_status kernel_times_print(const kernel_times *t, evn_error *err)
{
	table cells = table_start("lrrrl");
	putchar('\n');
	if (t->failed)
		return evn_fail_memory(err, "the times of kernels", 0);
	table_cell(&cells, "phase");
	table_cell(&cells, "rank");
	table_cell(&cells, "launches");
	table_cell(&cells, "us");
	table_cell(&cells, "kernel");
	for (size_t i = 0; i < t->n; i++) {
		const kernel_time *k = &t->rows[i];
		table_cell(&cells, "%s", k->phase);
		table_cell(&cells, "%zu", k->rank);
		table_cell(&cells, "%.0f", k->launches);
		table_cell(&cells, "%.1f", k->us);
		table_cell(&cells, "%s", k->kernel);
	}
	return table_print(&cells, err);
}

void kernel_times_free(kernel_times *t)
{
	for (size_t i = 0; i < t->n; i++)
		free(t->rows[i].kernel);
	free(t->rows);
	*t = (kernel_times){0};
}
