/* grammar_texts.c - writes random texts of grammars with a model's vocabulary, for schemas_test.py.
 *
 * grammar_texts MODEL TEXTS: each line of standard input is a JSON Schema; each line of output a JSON object about
 * it:
 * {"error": ...}, or {"compile_ms": ..., "mask_us": [...], "texts": [...]}. A text is drawn token by token among
 * those that the mask allows. Every other token is the cheapest that may end something, so that texts end. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/base.h"
#include "evener/grammar.h"

enum { MAX_TOKENS = 600, CALM_TOKENS = 120 };

typedef struct {
	evn_model *model;
	evn_vocabulary *vocabulary;
	uint32_t vocab;
	evn_random random;
	int32_t closers[4];
	int32_t *allowed;
} writer;

/* Of this thread: other programs may keep the cores busy. */
static double now_us(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

static bool is_allowed(const uint64_t *mask, int32_t id) { return id >= 0 && mask[id / 64] >> id % 64 & 1; }

static int32_t choose(writer *w, const evn_matcher *m, const uint64_t *mask, int n_drawn)
{
	uint32_t n = 0;
	const bool hurry = n_drawn > CALM_TOKENS || evn_random_below(&w->random, 3) == 0;
	for (size_t i = 0; hurry && i < sizeof w->closers / sizeof *w->closers; i++)
		if (is_allowed(mask, w->closers[i]))
			return w->closers[i];
	for (uint32_t id = 0; id < w->vocab; id++)
		if (is_allowed(mask, (int32_t)id))
			w->allowed[n++] = (int32_t)id;
	if (evn_matcher_may_end(m) && (hurry || n == 1))
		return -1;
	return w->allowed[evn_random_below(&w->random, n)];
}

/* The text, or NULL: it did not end in time, or *err. */
static json_t *write_text(writer *w, evn_grammar *g, json_t *times, evn_error *err)
{
	evn_matcher *m = NULL;
	int32_t ids[MAX_TOKENS];
	int n = 0;
	bool ended = false;
	evn_status status = evn_matcher_create(&m, g, err);
	while (status == EVN_OK && !ended && n < MAX_TOKENS) {
		const uint64_t *mask;
		const double began = now_us();
		status = evn_matcher_mask(m, &mask, err);
		json_array_append_new(times, json_real(now_us() - began));
		if (status != EVN_OK)
			break;
		const int32_t id = choose(w, m, mask, n);
		ended = id < 0 || evn_token_ends_generation(w->model, id);
		if (ended)
			break;
		ids[n++] = id;
		status = evn_matcher_accept(m, id, err);
		ended = evn_matcher_is_complete(m);
	}
	evn_matcher_free(m);
	char *text = NULL;
	size_t bytes;
	if (status != EVN_OK || !ended || evn_detokenize(w->model, ids, (size_t)n, false, &text, &bytes, err) != EVN_OK)
		return NULL;
	json_t *json = json_stringn(text, bytes);
	free(text);
	return json;
}

static json_t *answer(writer *w, const char *schema, size_t length, int n_texts)
{
	evn_grammar *g = NULL;
	evn_error err = {0};
	const double began = now_us();
	const evn_status status = evn_grammar_create(&g, w->vocabulary, EVN_GRAMMAR_JSON_SCHEMA, schema, length, &err);
	const double compile_ms = (now_us() - began) * 1e-3;
	json_t *times = json_array(), *texts = json_array();
	if (status != EVN_OK)
		return json_pack("{s:s}", "error", err.text);
	for (int i = 0; i < n_texts && !err.code; i++) {
		json_t *text = write_text(w, g, times, &err);
		if (text)
			json_array_append_new(texts, text);
	}
	evn_grammar_free(g);
	return json_pack("{s:f, s:o, s:o, s:s}", "compile_ms", compile_ms, "mask_us", times, "texts", texts, "failed",
					 err.text);
}

static int32_t token_of(const evn_model *m, const char *text)
{
	int32_t *ids = NULL, id = -1;
	size_t n = 0;
	if (evn_tokenize(m, text, strlen(text), false, false, &ids, &n, NULL) == EVN_OK && n)
		id = ids[n - 1];
	free(ids);
	return id;
}

int main(int argc, char **argv)
{
	evn_error err = {0};
	writer w = {.random.state = 7};
	char *line = NULL;
	size_t room = 0;
	ssize_t n;
	if (argc != 3 || evn_model_open(&w.model, argv[1], &err) != EVN_OK ||
		evn_vocabulary_create(&w.vocabulary, w.model, &err) != EVN_OK) {
		fprintf(stderr, "%s\n", err.text);
		return 1;
	}
	w.vocab = evn_model_get_info(w.model).vocab;
	w.allowed = malloc(w.vocab * sizeof *w.allowed);
	static const char *const closers[] = {"\"", "}", "]", "\":"};
	for (size_t i = 0; i < 4; i++)
		w.closers[i] = token_of(w.model, closers[i]);
	while ((n = getline(&line, &room, stdin)) > 0) {
		json_t *root = answer(&w, line, (size_t)n, atoi(argv[2]));
		json_dumpf(root, stdout, JSON_COMPACT | JSON_REAL_PRECISION(6));
		putchar('\n');
		json_decref(root);
	}
	free(line);
	free(w.allowed);
	evn_vocabulary_free(w.vocabulary);
	evn_model_close(w.model);
	return 0;
}
