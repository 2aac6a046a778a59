/* picture.c - see picture.h. A large vocabulary does not fit into a picture, so only the entries are shown that are
 * likeliest after any of the tokens. */
#include "cli/show/picture.h"
#include "base/base.h"
#include "cli/show/token.h"
#include "plot/plot.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_COLUMNS = 40, MAX_ROWS = 128, NAME_BYTES = 48 };

typedef struct {
	uint32_t id;
	float score; /* the largest log-probability after any of the tokens */
} column;

typedef struct {
	const evn_model *m;
	const int32_t *ids; /* the ids of the rows shown */
	const float *logits;
	size_t first_row, n_rows, vocab;
	size_t n_columns;
	column *columns; /* (vocab), those shown come first */
	float *cells;
	char (*texts)[NAME_BYTES]; /* the texts of rows, then of columns */
	const char **names;
} picture;

static int by_column_score(const void *a, const void *b)
{
	const column *x = a, *y = b;
	if (x->score != y->score)
		return x->score < y->score ? 1 : -1;
	return x->id < y->id ? -1 : x->id > y->id;
}

/* Selects all entries in order, or the likeliest, sorted. */
static void choose_columns(picture *p)
{
	for (size_t v = 0; v < p->vocab; v++)
		p->columns[v] = (column){(uint32_t)v, -INFINITY};
	p->n_columns = p->vocab < MAX_COLUMNS ? p->vocab : MAX_COLUMNS;
	if (p->n_columns == p->vocab)
		return;
	for (size_t r = 0; r < p->n_rows; r++) {
		const float *row = p->logits + r * p->vocab, all = (float)evn_log_sum_exp(row, p->vocab);
		for (size_t v = 0; v < p->vocab; v++)
			p->columns[v].score = fmaxf(p->columns[v].score, row[v] - all);
	}
	qsort(p->columns, p->vocab, sizeof *p->columns, by_column_score);
}

static void fill_cells(picture *p)
{
	for (size_t r = 0; r < p->n_rows; r++) {
		char token[NAME_BYTES - 12];
		token_name(token, sizeof token, p->m, p->ids[r]);
		snprintf(p->texts[r], NAME_BYTES, "%zu: %s", p->first_row + r, token);
		p->names[r] = p->texts[r];
		for (size_t k = 0; k < p->n_columns; k++)
			p->cells[r * p->n_columns + k] = p->logits[r * p->vocab + p->columns[k].id];
	}
	for (size_t k = 0; k < p->n_columns; k++) {
		token_name(p->texts[p->n_rows + k], NAME_BYTES, p->m, (int32_t)p->columns[k].id);
		p->names[p->n_rows + k] = p->texts[p->n_rows + k];
	}
}

static evn_status draw_picture(picture *p, const char *path, evn_error *err)
{
	evn_model_info info = evn_model_get_info(p->m);
	char model[64], title[160], columns[80];
	const char *name = info.name ? info.name : info.arch;
	visible_text(model, sizeof model, name, strlen(name), " ");
	snprintf(title, sizeof title, "Logits of %s", model);
	if (p->n_columns < p->vocab)
		snprintf(columns, sizeof columns, "vocabulary entry: the %zu likeliest after any of the tokens, of %zu",
				 p->n_columns, p->vocab);
	else
		snprintf(columns, sizeof columns, "vocabulary entry");
	evn_heat_map map = {.title = title,
						.x_label = columns,
						.y_label = "position: token",
						.value_label = "logit",
						.n_rows = (uint32_t)p->n_rows,
						.n_columns = (uint32_t)p->n_columns,
						.values = p->cells,
						.row_names = p->names,
						.column_names = p->names + p->n_rows};
	return evn_plot_heat_map(path, &map, err);
}

evn_status picture_logits(const char *path, const evn_model *m, const int32_t *ids, size_t n_ids, const float *logits,
						  evn_error *err)
{
	picture p = {.m = m, .n_rows = n_ids < MAX_ROWS ? n_ids : MAX_ROWS, .vocab = evn_model_get_info(m).vocab};
	p.first_row = n_ids - p.n_rows; /* show the last tokens */
	p.ids = ids + p.first_row;
	p.logits = logits + p.first_row * p.vocab;
	size_t n_names = p.n_rows + MAX_COLUMNS;
	p.columns = calloc(p.vocab, sizeof *p.columns);
	p.cells = calloc(p.n_rows * MAX_COLUMNS, sizeof *p.cells);
	p.texts = calloc(n_names, sizeof *p.texts);
	p.names = calloc(n_names, sizeof *p.names);
	evn_status status = EVN_OK;
	if (p.columns && p.cells && p.texts && p.names) {
		choose_columns(&p);
		fill_cells(&p);
		status = draw_picture(&p, path, err);
	} else {
		status = evn_fail_memory(err, "the picture", 0);
	}
	free(p.columns);
	free(p.cells);
	free(p.texts);
	free(p.names);
	return status;
}

/* The mean of the values up to `reach` before and after each value. */
static void smooth(double *out, const double *values, size_t n, size_t reach)
{
	double sum = 0;
	for (size_t i = 0, begin = 0, end = 0; i < n; i++) {
		for (; end < n && end <= i + reach; end++)
			sum += values[end];
		for (; begin + reach < i; begin++)
			sum -= values[begin];
		out[i] = sum / (double)(end - begin);
	}
}

/* Adds a point that is not a number between two stretches, so that the line has a gap there. */
static size_t with_gaps(double *out, const double *place, const double *values, size_t n)
{
	size_t at = 0;
	for (size_t i = 0; i < n; i++) {
		if (i > 0 && place[i] > place[i - 1] + 1.5)
			out[at++] = (double)NAN;
		out[at++] = values[i];
	}
	return at;
}

evn_status picture_surprise(const char *path, const char *title, const double *place, const double *surprise,
							size_t n, evn_error *err)
{
	enum { PARTS = 100, LEAST = 4 };
	char mean_name[64];
	size_t reach = n / PARTS > LEAST ? n / PARTS : LEAST, n_points = 0;
	double *values = calloc(n, 7 * sizeof *values);
	if (!values)
		return evn_fail_memory(err, "the picture", 0);
	double *mean = values, *x = mean + n, *y = x + 2 * n, *y_mean = y + 2 * n;
	smooth(mean, surprise, n, reach);
	with_gaps(x, place, place, n);
	with_gaps(y, place, surprise, n);
	n_points = with_gaps(y_mean, place, mean, n);
	snprintf(mean_name, sizeof mean_name, "mean of %zu", 2 * reach + 1);
	const evn_plot_series series[] = {{.name = "each token", .n = n_points, .x = x, .y = y, .faint = true},
									  {.name = mean_name, .n = n_points, .x = x, .y = y_mean}};
	const evn_line_chart chart = {.title = title,
								  .x_label = "token of the text",
								  .y_label = "surprise, -log p (nats)",
								  .series = series,
								  .n_series = 2};
	evn_status status = evn_plot_line_chart(path, &chart, err);
	free(values);
	return status;
}
