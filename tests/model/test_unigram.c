/* test_unigram.c - Unigram: the ids that sentencepiece gives for two vocabularies that it has made (tests/data), with
 * and without tokens for bytes; and files that are not whole. */
#include "model/tiny_tokenizer.h"

#include <jansson.h>

typedef struct {
	const char *name; /* in the file of golden ids */
	bool cut;         /* the table of characters ends within a text */
	bool no_scores;
} variant;

static const json_t *golden; /* the two vocabularies */

static const json_t *find(const char *name)
{
	size_t i;
	json_t *v;
	json_array_foreach((json_t *)(uintptr_t)golden, i,
					   v) if (!strcmp(json_string_value(json_object_get(v, "name")), name)) return v;
	fail_msg("no vocabulary \"%s\"", name);
	return NULL;
}

static void put_charsmap(gguf_writer *w, const char *hex, size_t n)
{
	put_key(w, "tokenizer.ggml.precompiled_charsmap", EVN_GGUF_ARRAY);
	put_le(w, EVN_GGUF_U8, 4);
	put_le(w, n, 8);
	for (size_t i = 0; i < n; i++) {
		const char byte[] = {hex[2 * i], hex[2 * i + 1], '\0'};
		put_le(w, strtoul(byte, NULL, 16), 1);
	}
}

static void put_flag(gguf_writer *w, const json_t *v, const char *name)
{
	char key[80];
	snprintf(key, sizeof key, "tokenizer.ggml.%s", name);
	put_key(w, key, EVN_GGUF_BOOL);
	put_le(w, json_is_true(json_object_get(v, name)), 1);
}

/* Column i of the pieces: text, score, type. */
static void put_column(gguf_writer *w, const json_t *pieces, const char *key, uint32_t type, size_t i)
{
	put_key(w, key, EVN_GGUF_ARRAY);
	put_le(w, type, 4);
	put_le(w, json_array_size(pieces), 8);
	for (size_t id = 0; id < json_array_size(pieces); id++) {
		const json_t *x = json_array_get(json_array_get(pieces, id), i);
		const float score = (float)json_number_value(x);
		uint32_t bits;
		memcpy(&bits, &score, sizeof bits);
		if (type == EVN_GGUF_STRING)
			put_text(w, json_string_value(x));
		else
			put_le(w, type == EVN_GGUF_F32 ? bits : (uint64_t)json_integer_value(x), 4);
	}
}

static gguf_writer file_of(const variant *c)
{
	const json_t *v = find(c->name), *pieces = json_object_get(v, "pieces");
	const char *hex = json_string_value(json_object_get(v, "charsmap"));
	gguf_writer w = {0};
	put_header(&w, 3, 0, c->no_scores ? 6 : 7);
	put_key(&w, "tokenizer.ggml.model", EVN_GGUF_STRING);
	put_text(&w, "t5");
	put_column(&w, pieces, "tokenizer.ggml.tokens", EVN_GGUF_STRING, 0);
	put_column(&w, pieces, "tokenizer.ggml.token_type", EVN_GGUF_I32, 2);
	if (!c->no_scores)
		put_column(&w, pieces, "tokenizer.ggml.scores", EVN_GGUF_F32, 1);
	put_charsmap(&w, hex, strlen(hex) / 2 - (c->cut ? 1 : 0));
	put_flag(&w, v, "add_space_prefix");
	put_flag(&w, v, "remove_extra_whitespaces");
	return w;
}

static void check_case(const fixture *f, const char *text, size_t n, const json_t *expected)
{
	int32_t *ids;
	size_t n_ids;
	evn_error err = {0};
	if (evn_tokenizer_encode(f->tokenizer, text, n, true, false, &ids, &n_ids, NULL, &err) != EVN_OK)
		fail_msg("%s", err.text);
	if (n_ids != json_array_size(expected) + 1 || ids[n_ids - 1] != 1)
		fail_msg("\"%s\": %zu ids, expected %zu and </s>", text, n_ids, json_array_size(expected));
	for (size_t i = 0; i + 1 < n_ids; i++)
		if (ids[i] != json_integer_value(json_array_get(expected, i)))
			fail_msg("\"%s\": id %zu is %d, expected %d", text, i, ids[i],
					 (int)json_integer_value(json_array_get(expected, i)));
	free(ids);
}

static void unigram_has_the_ids_of_sentencepiece(void **state)
{
	static const char *const names[] = {"plain", "bytes"};
	(void)state;
	for (size_t k = 0; k < 2; k++) {
		fixture f;
		evn_error err = {0};
		size_t i;
		json_t *c, *cases = json_object_get(find(names[k]), "cases");
		if (open_file(&f, file_of(&(variant){.name = names[k]}), &err) != EVN_OK)
			fail_msg("%s", err.text);
		assert_true(json_array_size(cases) > 80);
		json_array_foreach(cases, i, c)
		{
			const json_t *text = json_array_get(c, 0);
			check_case(&f, json_string_value(text), json_string_length(text), json_array_get(c, 1));
		}
		close_file(&f);
	}
}

static void unigram_decodes(void **state)
{
	fixture f;
	evn_error err = {0};
	int32_t *ids;
	size_t n_ids, n;
	char *text;
	(void)state;
	assert_int_equal(open_file(&f, file_of(&(variant){.name = "plain"}), &err), EVN_OK);
	assert_int_equal(evn_tokenizer_encode(f.tokenizer, " Hello  world", 13, true, false, &ids, &n_ids, NULL, &err),
					 EVN_OK);
	assert_int_equal(evn_tokenizer_decode(f.tokenizer, ids, n_ids, false, &text, &n, &err), EVN_OK);
	assert_string_equal(text, "Hello world");
	free(text);
	free(ids);
	close_file(&f);
}

static void broken_files_are_refused(void **state)
{
	static const struct {
		variant v;
		const char *message;
	} cases[] = {{{.name = "plain", .cut = true}, "has no end"},
				 {{.name = "plain", .no_scores = true}, "tokenizer.ggml.scores has 0"}};
	(void)state;
	for (size_t i = 0; i < 2; i++) {
		fixture f;
		evn_error err = {0};
		assert_int_equal(open_file(&f, file_of(&cases[i].v), &err), EVN_ERR_FORMAT);
		if (!strstr(err.text, cases[i].message))
			fail_msg("%s", err.text);
		close_file(&f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(unigram_has_the_ids_of_sentencepiece),
									   cmocka_unit_test(unigram_decodes), cmocka_unit_test(broken_files_are_refused)};
	golden = json_load_file(EVN_TEST_DATA "/unigram.json", JSON_ALLOW_NUL, NULL);
	const int failed = golden ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
	json_decref((json_t *)(uintptr_t)golden);
	return failed;
}
