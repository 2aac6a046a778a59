/* test_text.c - texts that a vocabulary must cover: bytes without a token are named, by line and offset. */
#include "model/model.h"
#include "evener/score.h"
#include "model/tiny_vocab.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define MARK "\xe2\x96\x81"

static const tiny_token spm_tokens[] = {{"<unk>", 2, 0}, {"<s>", 3, 0}, {"</s>", 3, 0}, {MARK, 1, 0},
										{"a", 1, 0},     {"b", 1, 0},   {"\n", 1, 0},   {NULL, 0, 0}};
static const tiny_token bpe_tokens[] = {{"a", 1, 0},        {"b", 1, 0},  {"\xc4\x8a", 1, 0},
										{"\xc4\xa0", 1, 0}, {"ab", 1, 0}, {NULL, 0, 0}}; /* newline, space */
static const char *const merges[] = {"a b", NULL};

static const tiny_vocab vocabularies[] = {
	{.model = "llama", .tokens = spm_tokens},
	{.model = "gpt2", .pre = "gpt-2", .tokens = bpe_tokens, .merges = merges},
};
static const tiny_vocab with_bytes = {.model = "llama", .tokens = spm_tokens, .all_bytes = true};

static evn_model *open_model(const tiny_vocab *v)
{
	evn_model *m;
	evn_error err = {0};
	gguf_writer w = tiny_file(v);
	if (evn_model_from_memory(&m, "tiny", w.data, w.size, &err) != EVN_OK)
		fail_msg("%s", err.text);
	return m;
}

static void test_a_covered_text_is_all_tokens(void **state)
{
	(void)state;
	static const char *const texts[] = {"", "ab a\nb ", " ab", "\n\n"};
	for (size_t v = 0; v < 2; v++) {
		evn_model *m = open_model(&vocabularies[v]);
		for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
			int32_t *ids, *others;
			size_t n, n_others;
			assert_int_equal(evn_tokenize_whole(m, "t", texts[i], strlen(texts[i]), &ids, &n, NULL), EVN_OK);
			assert_int_equal(evn_tokenize(m, texts[i], strlen(texts[i]), false, false, &others, &n_others, NULL),
							 EVN_OK);
			assert_int_equal(n, n_others);
			if (n)
				assert_memory_equal(ids, others, n * sizeof *ids);
			free(ids);
			free(others);
		}
		evn_model_close(m);
	}
}

static void test_bytes_cover_anything(void **state)
{
	(void)state;
	static const char text[] = "x\xff\xfe\0 \xe2\x82\xac\xe2";
	evn_model *m = open_model(&with_bytes);
	int32_t *ids;
	size_t n;
	assert_int_equal(evn_tokenize_whole(m, "t", text, sizeof text - 1, &ids, &n, NULL), EVN_OK);
	assert_true(n >= sizeof text - 1);
	free(ids);
	evn_model_close(m);
}

static void test_what_has_no_token_is_named(void **state)
{
	(void)state;
	static const struct {
		const char *text, *where;
	} cases[] = {{"c", "t.txt: line 1: the model's vocabulary has no token for byte 0x63 at offset 0"},
				 {"ab\nab c", "line 2: the model's vocabulary has no token for byte 0x63 at offset 6"},
				 {"ab\n\n\xe2\x82\xac"
				  "a",
				  "line 3: the model's vocabulary has no token for byte 0xe2 at offset 4"},
				 {"a\xff", "line 1: the model's vocabulary has no token for byte 0xff at offset 1"},
				 {"ab ab\td", "line 1: the model's vocabulary has no token for byte 0x09 at offset 5"}};
	for (size_t v = 0; v < 2; v++) {
		evn_model *m = open_model(&vocabularies[v]);
		for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
			int32_t *ids = (int32_t *)&ids;
			size_t n = 7;
			evn_error err = {0};
			assert_int_equal(evn_tokenize_whole(m, "t.txt", cases[i].text, strlen(cases[i].text), &ids, &n, &err),
							 EVN_ERR_UNSUPPORTED);
			assert_non_null(strstr(err.text, cases[i].where));
			assert_null(ids);
			assert_int_equal(n, 0);
		}
		evn_model_close(m);
	}
}

static void count_warning(void *user, evn_log_level level, const char *line)
{
	*(int *)user += level == EVN_LOG_WARN && strstr(line, "tiny: 2 bytes of the text");
}

/* A prompt continues without them. */
static void test_a_prompt_is_told_what_it_loses(void **state)
{
	(void)state;
	evn_model *m = open_model(&vocabularies[1]);
	int32_t *ids;
	size_t n;
	int n_warnings = 0;
	evn_set_log(count_warning, &n_warnings);
	assert_int_equal(evn_tokenize(m, "acbd", 4, false, false, &ids, &n, NULL), EVN_OK);
	evn_set_log(NULL, NULL);
	assert_int_equal(n, 2);
	assert_int_equal(n_warnings, 1);
	free(ids);
	evn_model_close(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_covered_text_is_all_tokens),
		cmocka_unit_test(test_bytes_cover_anything),
		cmocka_unit_test(test_what_has_no_token_is_named),
		cmocka_unit_test(test_a_prompt_is_told_what_it_loses),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
