/* cmd_embed.c - evener embed: a vector for each line of a text or for each image, or how alike they are. */
#include "base/base.h"
#include "cli/cli.h"
#include "cli/commands/images.h"
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
	evn_embedder *embedder;
	texts texts;
} embedding;

/* ---- vectors --------------------------------------------------------------------------------------------------- */

static evn_status read_images(embedding *e, const invocation *in, evn_error *err)
{
	const char **paths;
	size_t n;
	tiles cut;
	EVN_TRY(tiles_parse(e->settings->tiles, &cut, err));
	EVN_TRY(images_of_command(e->settings, in->arguments, in->n_arguments, &paths, &n, err));
	const evn_status status = images_take(&e->texts, e->model, paths, n, cut, err);
	free(paths);
	return status;
}

static evn_status read_input(embedding *e, const invocation *in, evn_error *err)
{
	if (e->settings->images.n) {
		EVN_TRY(settings_open_model(e->settings, &e->model, err));
		return read_images(e, in, err);
	}
	if (e->settings->tiles)
		return evn_fail(err, EVN_ERR_USAGE, "--tiles is for images");
	EVN_TRY(texts_read_lines(&e->texts, err));
	EVN_TRY(settings_open_model(e->settings, &e->model, err));
	return texts_tokenize(&e->texts, e->model, err);
}

static evn_status compute_vectors(embedding *e, const invocation *in, evn_error *err)
{
	const evn_options o = settings_engine_options(e->settings);
	const evn_embed_options how = {.pooling = (evn_pooling)e->settings->pooling, .progress = console_progress};
	EVN_TRY(read_input(e, in, err));
	EVN_TRY(evn_embedder_open(&e->embedder, e->model, &o, images_split(e->settings), e->texts.n, err));
	console_progress_end();
	EVN_TRY(texts_make_vectors(&e->texts, evn_embedder_engine(e->embedder), err));
	return evn_embedder_run(e->embedder, &how, e->texts.items, e->texts.n, err);
}

/* Vectors have length 1, so this is the cosine of their angle. */
static double similarity(const embedding *e, size_t a, size_t b)
{
	double sum = 0;
	for (uint32_t i = 0; i < e->texts.dim; i++)
		sum += (double)e->texts.vectors[a * e->texts.dim + i] * (double)e->texts.vectors[b * e->texts.dim + i];
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
	*out = e->texts.n < SIZE_MAX / sizeof **out / (e->texts.n + 1)
			   ? malloc((e->texts.n * (e->texts.n - 1) / 2 + 1) * sizeof **out)
			   : NULL;
	if (!*out)
		return evn_fail_memory(err, "the pairs", 0);
	for (size_t a = 0; a < e->texts.n; a++)
		for (size_t b = a + 1; b < e->texts.n; b++)
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
				   e->texts.lines[pairs[i].a], e->texts.lines[pairs[i].b]);
	free(pairs);
	return e->settings->json ? json_print(json_pack("{s:o}", "pairs", list), err) : EVN_OK;
}

static double number_at(const embedding *e, size_t row, size_t column)
{
	return e->settings->similarity == MATRIX ? similarity(e, row, column)
											 : (double)e->texts.vectors[row * e->texts.dim + column];
}

/* Row by row: a JSON number takes many times the memory of a float. */
static evn_status print_rows(const embedding *e, evn_error *err)
{
	const bool matrix = e->settings->similarity == MATRIX, json = e->settings->json;
	const size_t columns = matrix ? e->texts.n : e->texts.dim;
	if (json)
		printf("{\"%s\": [", matrix ? "similarity" : "vectors");
	for (size_t r = 0; r < e->texts.n; r++) {
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

evn_status cmd_embed(const invocation *in, evn_error *err)
{
	embedding e = {.settings = &in->settings, .texts = {.settings = &in->settings}};
	evn_status status = compute_vectors(&e, in, err);
	console_progress_end();
	if (status == EVN_OK)
		status = e.settings->similarity == PAIRS ? print_pairs(&e, err) : print_rows(&e, err);
	texts_free(&e.texts);
	evn_embedder_close(e.embedder);
	evn_model_close(e.model);
	return status;
}
