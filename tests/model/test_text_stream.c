/* test_text_stream.c - token streams never cut a character. Bytes wait for the rest of their character. Broken bytes
 * become U+FFFD, as many as Unicode recommends (one for each maximal part of a character). */
#include "model/tiny_vocab.h"

#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>
#include <cmocka.h>

#define FFFD "\xef\xbf\xbd"

enum { A = 256, SPACE_A, CONTROL_TOKEN, HALF };

static const tiny_token tokens[] = {{"a", 1, 0},
									{"\xe2\x96\x81"
									 "a",
									 1, 0},
									{"<s>", 3, 0},
									{"b\xf0\x9f", 1, 0},
									{NULL, 0, 0}};
static const tiny_vocab vocab = {.model = "llama", .tokens = tokens, .all_bytes = true};

typedef struct {
	evn_model *model;
	evn_text_stream *stream;
} fixture;

static int open_stream(void **state)
{
	static fixture f;
	char path[] = EVN_BINARY_DIR "/text-stream-XXXXXX";
	int fd = mkstemp(path);
	gguf_writer w = tiny_file(&vocab);
	bool written = fd >= 0 && write(fd, w.data, w.size) == (ssize_t)w.size;
	evn_error err = {0};
	if (!written || evn_model_open(&f.model, path, &err) != EVN_OK ||
		evn_text_stream_create(&f.stream, f.model, &err) != EVN_OK)
		print_error("%s: %s\n", path, err.text);
	close(fd);
	unlink(path);
	gguf_writer_free(&w);
	*state = &f;
	return f.stream ? 0 : -1;
}

static int close_stream(void **state)
{
	fixture *f = *state;
	evn_text_stream_free(f->stream);
	evn_model_close(f->model);
	*f = (fixture){0};
	return 0;
}

static evn_text_stream *stream_of(void **state) { return ((fixture *)*state)->stream; }

/* Pushes bytes, one token for each. Returns everything that came out, in a buffer of its own. */
static const char *push_bytes(evn_text_stream *s, const char *bytes, size_t n)
{
	static char all[4096];
	all[0] = '\0';
	for (size_t i = 0; i < n; i++)
		strcat(all, evn_text_stream_push(s, (uint8_t)bytes[i]));
	return all;
}

static void characters_come_whole(void **state)
{
	evn_text_stream *s = stream_of(state);
	assert_string_equal(evn_text_stream_push(s, 0xf0), "");
	assert_string_equal(evn_text_stream_push(s, 0x9f), "");
	assert_string_equal(evn_text_stream_push(s, 0xa6), "");
	assert_string_equal(evn_text_stream_push(s, 0x99), "\xf0\x9f\xa6\x99");
	assert_string_equal(evn_text_stream_push(s, 0xc3), "");
	assert_string_equal(evn_text_stream_push(s, 0xa9), "\xc3\xa9");
	assert_string_equal(evn_text_stream_push(s, HALF), "b"); /* a token that ends within a character */
	assert_string_equal(evn_text_stream_push(s, 0xa6), "");
	assert_string_equal(evn_text_stream_push(s, 0x99), "\xf0\x9f\xa6\x99");
	assert_string_equal(evn_text_stream_flush(s), "");
}

static void tokens_that_are_no_text(void **state)
{
	evn_text_stream *s = stream_of(state);
	assert_string_equal(evn_text_stream_push(s, CONTROL_TOKEN), "");
	assert_string_equal(evn_text_stream_push(s, SPACE_A), " a"); /* the space stays, even at the beginning */
	assert_string_equal(evn_text_stream_push(s, -1), "");
	assert_string_equal(evn_text_stream_push(s, 1 << 30), "");
	assert_string_equal(evn_text_stream_push(s, 0xe2), "");
	assert_string_equal(evn_text_stream_push(s, CONTROL_TOKEN), "");
	assert_string_equal(push_bytes(s, "\x82\xac", 2), "\xe2\x82\xac");
}

static void broken_bytes_become_replacements(void **state)
{
	static const struct {
		const char *bytes, *pushed, *flushed;
	} cases[] = {
		{"\x80", FFFD, ""},
		{"\xff"
		 "a",
		 FFFD "a", ""},
		{"\xc0\xaf", FFFD FFFD, ""},                   /* overlong */
		{"\xe0\x80\x80", FFFD FFFD FFFD, ""},          /* overlong */
		{"\xed\xa0\x80", FFFD FFFD FFFD, ""},          /* surrogate */
		{"\xf4\x90\x80\x80", FFFD FFFD FFFD FFFD, ""}, /* above U+10FFFF */
		{"\xe2\x82"
		 "a",
		 FFFD "a", ""},
		{"\xf0\x9f\xa6\xc3\xa9", FFFD "\xc3\xa9", ""},
		{"\xe2\xe2\x82\xac", FFFD "\xe2\x82\xac", ""},
		{"a\xf0\x9f\xa6", "a", FFFD},
		{"\xe2\x82", "", FFFD},
		{"\xc3", "", FFFD},
		{"\xed\x9f\xbf\xee\x80\x80", "\xed\x9f\xbf\xee\x80\x80", ""}, /* either side of the surrogates */
		{"\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf", ""},
	};
	evn_text_stream *s = stream_of(state);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		assert_string_equal(push_bytes(s, cases[i].bytes, strlen(cases[i].bytes)), cases[i].pushed);
		assert_string_equal(evn_text_stream_flush(s), cases[i].flushed);
		assert_string_equal(evn_text_stream_flush(s), "");
	}
	assert_string_equal(push_bytes(s, "a\0b", 3), "a" FFFD "b"); /* NUL would end the string */
}

static void a_model_without_tokenizer_has_no_stream(void **state)
{
	(void)state;
	char path[] = EVN_BINARY_DIR "/text-stream-XXXXXX";
	int fd = mkstemp(path);
	tiny_vocab none = vocab;
	none.model = NULL;
	gguf_writer w = tiny_file(&none);
	assert_int_equal(write(fd, w.data, w.size), w.size);
	evn_model *m;
	evn_text_stream *s;
	int32_t *ids;
	size_t n;
	evn_error err = {0};
	assert_int_equal(evn_model_open(&m, path, &err), EVN_OK);
	assert_int_equal(evn_text_stream_create(&s, m, NULL), EVN_ERR_FORMAT);
	assert_null(s);
	assert_int_equal(evn_tokenize(m, "a", 1, false, false, &ids, &n, &err), EVN_ERR_FORMAT);
	assert_non_null(strstr(err.text, path));
	assert_false(evn_token_ends_generation(m, 0));
	evn_text_stream_free(NULL);
	evn_model_close(m);
	close(fd);
	unlink(path);
	gguf_writer_free(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(characters_come_whole, open_stream, close_stream),
		cmocka_unit_test_setup_teardown(tokens_that_are_no_text, open_stream, close_stream),
		cmocka_unit_test_setup_teardown(broken_bytes_become_replacements, open_stream, close_stream),
		cmocka_unit_test(a_model_without_tokenizer_has_no_stream),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
