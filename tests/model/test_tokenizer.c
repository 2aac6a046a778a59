/* test_tokenizer.c - real vocabularies: texts with the ids that llama.cpp gives, and back to the text. */
#include "model/model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#define SEPARATOR "\n__ggml_vocab_test__\n"

static const char *vocab_dir;

static bool in_ci(void)
{
	const char *ci = getenv("CI");
	return ci && strcmp(ci, "true") == 0;
}

static evn_model *open_vocab(const char *name)
{
	char path[1024];
	evn_model *m;
	evn_error err = {0};
	snprintf(path, sizeof path, "%s/ggml-vocab-%s.gguf", vocab_dir, name);
	if (evn_model_open(&m, path, &err) != EVN_OK)
		fail_msg("%s", err.text);
	return m;
}

static char *read_case_file(const char *name, const char *suffix, size_t *size)
{
	char path[1024], *text;
	evn_error err = {0};
	snprintf(path, sizeof path, "%s/ggml-vocab-%s.gguf.%s", vocab_dir, name, suffix);
	if (evn_read_file(&text, size, path, 1 << 20, &err) != EVN_OK)
		fail_msg("%s", err.text);
	return text;
}

static void check_ids(const char *name, const char *text, size_t n, const int32_t *ids, size_t n_ids, char *expected)
{
	size_t at = 0;
	for (char *end, *p = expected;; p = end, at++) {
		long id = strtol(p, &end, 10);
		if (end == p)
			break;
		if (at >= n_ids || ids[at] != id)
			fail_msg("%s: \"%.*s\": id %zu is %d, expected %ld", name, (int)n, text, at, at < n_ids ? ids[at] : -1,
					 id);
	}
	if (at != n_ids)
		fail_msg("%s: \"%.*s\": %zu ids, expected %zu", name, (int)n, text, n_ids, at);
}

static void check_case(const evn_model *m, const char *name, const char *text, size_t n, char *expected)
{
	int32_t *ids;
	size_t n_ids, n_back;
	char *back;
	evn_error err = {0};
	if (evn_tokenize(m, text, n, false, false, &ids, &n_ids, &err) != EVN_OK)
		fail_msg("%s: %s", name, err.text);
	check_ids(name, text, n, ids, n_ids, expected);
	if (evn_detokenize(m, ids, n_ids, false, &back, &n_back, &err) != EVN_OK)
		fail_msg("%s: %s", name, err.text);
	if (n_back != n || memcmp(back, text, n) != 0)
		fail_msg("%s: \"%.*s\" comes back as \"%s\"", name, (int)n, text, back);
	free(back);
	free(ids);
}

static void golden_cases(void **state)
{
	const char *name = *state;
	size_t size, out_size, n_cases = 0;
	evn_model *m = open_vocab(name);
	char *inp = read_case_file(name, "inp", &size), *out = read_case_file(name, "out", &out_size);
	char *line = out;
	for (size_t at = 0, n; at < size; at += n + strlen(SEPARATOR)) {
		char *next = memmem(inp + at, size - at, SEPARATOR, strlen(SEPARATOR));
		n = next ? (size_t)(next - inp) - at : size - at;
		char *end = strchr(line, '\n');
		if (!end)
			fail_msg("%s: fewer lines of ids than texts", name);
		*end = '\0';
		check_case(m, name, inp + at, n, line);
		line = end + 1;
		n_cases++;
	}
	assert_true(n_cases > 40);
	assert_string_equal(line, "");
	free(inp);
	free(out);
	evn_model_close(m);
}

static void check_wordpiece(const evn_model *m, const char *text, size_t n, bool special, char *expected)
{
	int32_t *ids;
	size_t n_ids;
	evn_error err = {0};
	if (evn_tokenize(m, text, n, special, special, &ids, &n_ids, &err) != EVN_OK)
		fail_msg("%s", err.text);
	check_ids("bert-bge", text, n, ids, n_ids, expected);
	free(ids);
}

/* WordPiece: llama.cpp's cases for the vocabulary of BERT, and texts with the ids that Hugging Face's tokenizers
 * gives. Texts do not come back. */
static void wordpiece(void **state)
{
	(void)state;
	size_t size, out_size, i;
	json_t *golden = json_load_file(EVN_TEST_DATA "/wordpiece.json", JSON_ALLOW_NUL, NULL), *c;
	char path[1024];
	snprintf(path, sizeof path, "%s/ggml-vocab-bert-bge.gguf", vocab_dir);
	if (access(path, R_OK) != 0 && !in_ci())
		skip(); /* the vocabularies were fetched before this one was among them */
	evn_model *m = open_vocab("bert-bge");
	char *inp = read_case_file("bert-bge", "inp", &size), *out = read_case_file("bert-bge", "out", &out_size);
	char *line = out;
	for (size_t at = 0, n; at < size && *line; at += n + strlen(SEPARATOR)) {
		char *next = memmem(inp + at, size - at, SEPARATOR, strlen(SEPARATOR));
		n = next ? (size_t)(next - inp) - at : size - at;
		char *end = strchr(line, '\n');
		*end = '\0';
		check_wordpiece(m, inp + at, n, false, line);
		line = end + 1;
	}
	assert_string_equal(line, "");
	json_array_foreach(golden, i, c)
	{
		const json_t *text = json_array_get(c, 0);
		char *expected = json_dumps(json_array_get(c, 1), JSON_COMPACT);
		for (char *p = expected; *p; p++)
			*p = *p >= '0' && *p <= '9' ? *p : ' ';
		check_wordpiece(m, json_string_value(text), json_string_length(text), true, expected);
		free(expected);
	}
	assert_true(json_array_size(golden) > 80);
	json_decref(golden);
	free(inp);
	free(out);
	evn_model_close(m);
}

static void special_tokens(void **state)
{
	static const struct {
		const char *vocab, *text;
		bool add_special;
		char ids[64];
	} cases[] = {
		{"llama-bpe", "Hello", true, "128000 9906"},
		{"llama-bpe", "<|begin_of_text|>Hello<|eot_id|>", false, "128000 9906 128009"},
		{"llama-spm", "Hello</s>", true, "1 15043 2"},
		{"phi-3", "<|user|>\n Hello<|end|>\n<|assistant|>", false,
		 "32010 15043 32007 32001"}, /* strips white space */
		{"phi-3", "<s> Hello", false, "1 29871 15043"},
		{"qwen2", "<|endoftext|>Hello", true, "151643 9707"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		evn_model *m = open_vocab(cases[i].vocab);
		int32_t *ids;
		size_t n_ids, n = strlen(cases[i].text);
		char expected[64];
		memcpy(expected, cases[i].ids, sizeof expected);
		assert_int_equal(evn_tokenize(m, cases[i].text, n, cases[i].add_special, true, &ids, &n_ids, NULL), EVN_OK);
		check_ids(cases[i].vocab, cases[i].text, n, ids, n_ids, expected);
		free(ids);
		evn_model_close(m);
	}
}

/* A text without tokens gives an array: whoever copies its ids must not hand NULL to memcpy. */
static void empty_text(void **state)
{
	(void)state;
	static const char *const vocabs[] = {"gpt-2", "llama-spm"};
	for (size_t i = 0; i < sizeof vocabs / sizeof *vocabs; i++) {
		evn_model *m = open_vocab(vocabs[i]);
		int32_t *ids;
		size_t n_ids;
		assert_int_equal(evn_tokenize(m, "", 0, false, false, &ids, &n_ids, NULL), EVN_OK);
		assert_int_equal(n_ids, 0);
		assert_non_null(ids);
		free(ids);
		evn_model_close(m);
	}
}

/* The prompts of the reference generation, with special tokens added and parsed. */
static void smollm_prompts(void **state)
{
	(void)state;
	const char *path = getenv("EVENER_TEST_MODEL");
	if (!path)
		path = EVN_REPO "/models/smollm2-135m-instruct-q4_1.gguf";
	if (access(path, R_OK) != 0 && !in_ci())
		skip();
	evn_model *m;
	evn_error err = {0};
	if (evn_model_open(&m, path, &err) != EVN_OK)
		fail_msg("%s", err.text);
	json_t *reference = json_load_file(EVN_TEST_DATA "/greedy-f32.json", 0, NULL), *c, *id;
	size_t i, k, n_cases = 0;
	json_array_foreach(json_object_get(reference, "cases"), i, c)
	{
		const char *prompt = json_string_value(json_object_get(c, "prompt"));
		const json_t *expected = json_object_get(c, "prompt_ids");
		int32_t *ids;
		size_t n_ids;
		if (evn_tokenize(m, prompt, strlen(prompt), true, true, &ids, &n_ids, &err) != EVN_OK)
			fail_msg("%s", err.text);
		assert_int_equal(n_ids, json_array_size(expected));
		json_array_foreach(expected, k, id) assert_int_equal(ids[k], json_integer_value(id));
		free(ids);
		n_cases++;
	}
	assert_true(n_cases >= 6);
	int32_t *end;
	size_t n_end;
	assert_int_equal(evn_tokenize(m, "<|im_end|>", 10, false, true, &end, &n_end, &err), EVN_OK);
	assert_int_equal(n_end, 1);
	assert_true(evn_token_ends_generation(m, end[0]));
	free(end);
	json_decref(reference);
	evn_model_close(m);
}

int main(void)
{
	struct stat st;
	vocab_dir = getenv("EVENER_VOCAB_DIR");
	if (!vocab_dir)
		vocab_dir = EVN_REPO "/models/vocabs";
	if (stat(vocab_dir, &st) != 0) {
		printf("skip: no vocabularies in %s, scripts/fetch-vocabs gets them\n", vocab_dir);
		return in_ci() ? 1 : 77;
	}
#define GOLDEN(name)                                                                                                 \
	{                                                                                                                \
		name, golden_cases, NULL, NULL, name                                                                         \
	}
	const struct CMUnitTest tests[] = {
		GOLDEN("llama-bpe"),
		GOLDEN("llama-spm"),
		GOLDEN("gpt-2"),
		GOLDEN("qwen2"),
		GOLDEN("qwen35"),
		GOLDEN("phi-3"),
		GOLDEN("falcon"),
		GOLDEN("command-r"),
		GOLDEN("mpt"),
		GOLDEN("deepseek-llm"),
		GOLDEN("deepseek-coder"),
		GOLDEN("refact"),
		GOLDEN("starcoder"),
		cmocka_unit_test(wordpiece),
		cmocka_unit_test(special_tokens),
		cmocka_unit_test(empty_text),
		cmocka_unit_test(smollm_prompts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
