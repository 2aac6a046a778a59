/* cmd_embed.c - evener embed: a vector for each line of a text, or how alike the lines are. */
#include "base/base.h"
#include "cli/cli.h"
#include "cli/commands/prompt.h"
#include "cli/show/console.h"
#include "cli/show/json.h"
#include "evener/embed.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VECTORS, MATRIX, PAIRS }; /* the choices of --similarity */

typedef struct {
	const settings *settings;
	evn_model *model;
	evn_engine *engine;
	char *text, **lines; /* lines: n beginnings in text, each ended by NUL */
	size_t n;
	evn_embed_text *items;
	float *vectors; /* (n, dim) */
	uint32_t dim;
} embedding;

/* ---- lines ----------------------------------------------------------------------------------------------------- */

static const char *name_of(const settings *s) { return s->prompt ? "-p" : s->prompt_file ? s->prompt_file : "stdin"; }

/* Each line is a text. One newline may end the last one. */
static evn_status cut_lines(embedding *e, size_t bytes, evn_error *err)
{
	size_t most = 1;
	for (size_t i = 0; i < bytes; i++)
		most += e->text[i] == '\n';
	e->lines = malloc(most * sizeof *e->lines);
	if (!e->lines)
		return evn_fail_memory(err, "the lines", most * sizeof *e->lines);
	for (char *at = e->text, *end = e->text + bytes, *next; at <= end; at = next) {
		next = memchr(at, '\n', (size_t)(end - at));
		char *stop = next ? next : end;
		next = stop + 1;
		stop -= stop > at && stop[-1] == '\r';
		*stop = '\0';
		if (at[strspn(at, " \t")] == '\0')
			return evn_fail(err, EVN_ERR_USAGE, "%s: line %zu is empty; each line is a text", name_of(e->settings),
							e->n + 1);
		e->lines[e->n++] = at;
	}
	return EVN_OK;
}

static evn_status too_long(const embedding *e, size_t line, uint32_t most, const char *how, evn_error *err)
{
	return evn_fail(err, EVN_ERR_LIMIT, "%s: line %zu has %u tokens, at most %u fit%s", name_of(e->settings),
					line + 1, e->items[line].n_ids, most, how);
}

/* Before a device is touched, so that what is wrong with the text is found at once. */
static evn_status tokenize_lines(embedding *e, evn_error *err)
{
	const evn_model_info info = evn_model_get_info(e->model);
	const uint32_t context = e->settings->context ? (uint32_t)e->settings->context : info.n_ctx_train;
	e->dim = info.dim;
	e->items = calloc(e->n, sizeof *e->items);
	if (!e->items)
		return evn_fail_memory(err, "the lines", e->n * sizeof *e->items);
	for (size_t i = 0; i < e->n; i++) {
		int32_t *ids;
		size_t n;
		EVN_TRY(evn_tokenize(e->model, e->lines[i], strlen(e->lines[i]), true, false, &ids, &n, err));
		e->items[i] = (evn_embed_text){.ids = ids, .n_ids = n < UINT32_MAX ? (uint32_t)n : UINT32_MAX};
		if (n > context)
			return too_long(e, i, context, " into the context (-c)", err);
	}
	return EVN_OK;
}

static evn_status read_lines(embedding *e, evn_error *err)
{
	size_t bytes;
	EVN_TRY(prompt_read(e->settings, true, &e->text, &bytes, err));
	EVN_TRY(cut_lines(e, bytes, err));
	EVN_TRY(settings_open_model(e->settings, &e->model, err));
	return tokenize_lines(e, err);
}

/* ---- vectors --------------------------------------------------------------------------------------------------- */

static evn_status compute_vectors(embedding *e, evn_error *err)
{
	const evn_options o = settings_engine_options(e->settings);
	const evn_embed_options how = {.pooling = (evn_pooling)e->settings->pooling, .progress = console_progress};
	EVN_TRY(evn_engine_open(&e->engine, e->model, &o, err));
	console_progress_end();
	for (size_t i = 0; i < e->n; i++)
		if (e->items[i].n_ids > evn_embed_longest(e->engine))
			return too_long(e, i, evn_embed_longest(e->engine), " into a step (-b)", err);
	const size_t room = e->n * e->dim * sizeof *e->vectors;
	e->vectors = malloc(room);
	if (!e->vectors)
		return evn_fail_memory(err, "the vectors", room);
	for (size_t i = 0; i < e->n; i++)
		e->items[i].vector = e->vectors + i * e->dim;
	return evn_embed_texts(e->engine, &how, e->items, e->n, err);
}

/* Vectors have length 1, so this is the cosine of their angle. */
static double similarity(const embedding *e, size_t a, size_t b)
{
	double sum = 0;
	for (uint32_t i = 0; i < e->dim; i++)
		sum += (double)e->vectors[a * e->dim + i] * (double)e->vectors[b * e->dim + i];
	return sum;
}

typedef struct {
	double similarity;
	size_t a, b;
} pair;

static int most_alike_first(const void *a, const void *b)
{
	const pair *x = a, *y = b;
	if (x->similarity != y->similarity)
		return x->similarity < y->similarity ? 1 : -1;
	return x->a != y->a ? (x->a > y->a) - (x->a < y->a) : (x->b > y->b) - (x->b < y->b);
}

static evn_status make_pairs(const embedding *e, pair **out, size_t *n, evn_error *err)
{
	*n = 0;
	*out = e->n < SIZE_MAX / sizeof **out / (e->n + 1) ? malloc((e->n * (e->n - 1) / 2 + 1) * sizeof **out) : NULL;
	if (!*out)
		return evn_fail_memory(err, "the pairs", 0);
	for (size_t a = 0; a < e->n; a++)
		for (size_t b = a + 1; b < e->n; b++)
			(*out)[(*n)++] = (pair){similarity(e, a, b), a, b};
	qsort(*out, *n, sizeof **out, most_alike_first);
	return EVN_OK;
}

/* ---- output ---------------------------------------------------------------------------------------------------- */

static evn_status print_pairs(const embedding *e, evn_error *err)
{
	pair *pairs;
	size_t n;
	EVN_TRY(make_pairs(e, &pairs, &n, err));
	json_t *list = e->settings->json ? json_array() : NULL;
	for (size_t i = 0; i < n; i++)
		if (list)
			json_push(&list, json_pack("{s:I, s:I, s:o}", "a", (json_int_t)pairs[i].a + 1, "b",
									   (json_int_t)pairs[i].b + 1, "similarity", json_number(pairs[i].similarity)));
		else
			printf("%8.4f  %zu  %zu  %s | %s\n", pairs[i].similarity, pairs[i].a + 1, pairs[i].b + 1,
				   e->lines[pairs[i].a], e->lines[pairs[i].b]);
	free(pairs);
	return e->settings->json ? json_print(json_pack("{s:o}", "pairs", list), err) : EVN_OK;
}

static double number_at(const embedding *e, size_t row, size_t column)
{
	return e->settings->similarity == MATRIX ? similarity(e, row, column) : (double)e->vectors[row * e->dim + column];
}

/* Row by row: a JSON number takes many times the memory of a float. */
static evn_status print_rows(const embedding *e, evn_error *err)
{
	const bool matrix = e->settings->similarity == MATRIX, json = e->settings->json;
	const size_t columns = matrix ? e->n : e->dim;
	if (json)
		printf("{\"%s\": [", matrix ? "similarity" : "vectors");
	for (size_t r = 0; r < e->n; r++) {
		if (json && r)
			fputs(", ", stdout);
		for (size_t c = 0; c < columns; c++)
			if (json)
				printf("%s%.9g", c ? ", " : "[", number_at(e, r, c));
			else
				printf(matrix ? "%s%.4f" : "%s%.9g", c ? " " : "", number_at(e, r, c));
		fputs(json ? "]" : "\n", stdout);
	}
	if (json)
		puts("]}");
	return ferror(stdout) ? evn_fail(err, EVN_ERR_FILE, "standard output: %s", strerror(errno)) : EVN_OK;
}

static void free_all(embedding *e)
{
	for (size_t i = 0; i < e->n && e->items; i++)
		free((void *)(uintptr_t)e->items[i].ids);
	free(e->items);
	free(e->vectors);
	free(e->lines);
	free(e->text);
	evn_engine_close(e->engine);
	evn_model_close(e->model);
}

evn_status cmd_embed(const invocation *in, evn_error *err)
{
	embedding e = {.settings = &in->settings};
	evn_status status = read_lines(&e, err);
	if (status == EVN_OK)
		status = compute_vectors(&e, err);
	console_progress_end();
	if (status == EVN_OK)
		status = e.settings->similarity == PAIRS ? print_pairs(&e, err) : print_rows(&e, err);
	free_all(&e);
	return status;
}
