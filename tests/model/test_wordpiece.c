/* test_wordpiece.c - the rules of WordPiece on a vocabulary that is small enough to follow by hand. */
#include "model/tiny_tokenizer.h"

static const tiny_token wordpiece_tokens[] = {
	{"[UNK]", CONTROL, 0},
	{"[CLS]", CONTROL, 0},
	{"[SEP]", CONTROL, 0},
	{MARK "un", NORMAL, 0},
	{MARK "unable", NORMAL, 0},
	{"able", NORMAL, 0},
	{"a", NORMAL, 0},
	{MARK ",", NORMAL, 0},
	{MARK "e", NORMAL, 0},
	{MARK "\xc3\xa9", NORMAL, 0},
	{MARK "\xe4\xb8\x80", NORMAL, 0},
	{NULL, 0, 0},
};
static const tiny_vocab wordpiece = {.model = "bert",
									 .tokens = wordpiece_tokens,
									 .keys = {"tokenizer.ggml.unknown_token_id=0", "tokenizer.ggml.cls_token_id=1",
											  "tokenizer.ggml.seperator_token_id=2"}};

static void wordpiece_takes_the_longest_token(void **state)
{
	(void)state;
	char text[256] = "un";
	fixture f = open_tiny(&wordpiece);
	encodes(&f, "", ADD, "1 2");
	encodes(&f, "Un unable,unablea", 0, "3 4 7 4 6");
	encodes(&f, "unb un", 0, "0 3");                  /* a word that ends with no token */
	encodes(&f, "able", 0, "0");                      /* "able" only continues words */
	encodes(&f, "\xc3\x89 e\xcc\x81 \xc3", 0, "8 8"); /* without case and accents; a broken byte */
	encodes(&f,
			"e\xe4\xb8\x80"
			"e\xe3\x80\x80,\x7f",
			0, "8 10 8 7"); /* an ideograph is a word */
	encodes(&f, "[SEP] un", PARSE, "2 3");
	memset(text + 2, 'a', 99);
	encodes(&f, text, 0, "0"); /* 101 characters */
	close_file(&f);

	tiny_vocab cased = wordpiece;
	cased.keys[3] = "tokenizer.ggml.normalizer.lowercase=false";
	f = open_tiny(&cased);
	encodes(&f, "\xc3\xa9 Un un", 0, "9 0 3");
	close_file(&f);
	cased.keys[4] = "tokenizer.ggml.normalizer.strip_accents=true";
	evn_error err = {0};
	assert_int_equal(open_file(&f, tiny_file(&cased), &err), EVN_ERR_UNSUPPORTED);
	assert_non_null(strstr(err.text, "accents"));
	close_file(&f);
}

static void wordpiece_decodes(void **state)
{
	(void)state;
	fixture f = open_tiny(&wordpiece);
	char *text;
	size_t n;
	assert_int_equal(evn_tokenizer_decode(f.tokenizer, (int32_t[]){1, 3, 5, 7, 2}, 5, false, &text, &n, NULL),
					 EVN_OK);
	assert_string_equal(text, "unable ,");
	free(text);
	close_file(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wordpiece_takes_the_longest_token),
		cmocka_unit_test(wordpiece_decodes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
