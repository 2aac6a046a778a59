/* vocabulary.h - a small vocabulary with every byte, and texts of its grammars. Include cmocka.h before. */
#ifndef EVN_TEST_VOCABULARY_H
#define EVN_TEST_VOCABULARY_H

#include <string.h>

#include "grammar/grammar.h"

static const char *const more_words[] = {"ab",  "abc",      "ba",    "bab",  "\":",
										 "{\"", "\"}",      "\",\"", "}}",   "]]",
										 "[[",  "12",       "true",  "fal",  "se",
										 "  ",  "\n ",      "ä",     "\xc3", "\xa4",
										 "äö",  "\xa4\xc3", "aaaa",  "name", "the quick brown fox jumps over",
										 "a\"", "\\\"",     "\\n",   "0.5",  "-1"};
enum {
	N_MORE = sizeof more_words / sizeof *more_words,
	N_WORDS = 256 + N_MORE + 2,
	END = N_WORDS - 2,
	CONTROL = N_WORDS - 1
};

static evn_word words[N_WORDS];
static char bytes[256];

static inline evn_vocabulary *make_vocabulary(void)
{
	evn_vocabulary *v;
	for (int i = 0; i < 256; i++) {
		bytes[i] = (char)i;
		words[i] = (evn_word){&bytes[i], 1, false};
	}
	for (int i = 0; i < N_MORE; i++)
		words[256 + i] = (evn_word){more_words[i], (uint32_t)strlen(more_words[i]), false};
	words[END] = (evn_word){"<end>", 5, true};
	words[CONTROL] = (evn_word){"", 0, false};
	assert_int_equal(evn_vocabulary_of_words(&v, words, N_WORDS, NULL), EVN_OK);
	return v;
}

static inline evn_grammar *make(evn_vocabulary *v, evn_grammar_kind kind, const char *text)
{
	evn_grammar *g;
	evn_error err = {0};
	if (evn_grammar_create(&g, v, kind, text, strlen(text), &err) != EVN_OK)
		fail_msg("%s: %s", text, err.text);
	return g;
}

/* Whether the grammar accepts the whole text, read byte by byte. */
static inline bool accepts(evn_grammar *g, const char *text, size_t n)
{
	evn_matcher *m;
	bool ok = true;
	assert_int_equal(evn_matcher_create(&m, g, NULL), EVN_OK);
	for (size_t i = 0; i < n && ok; i++)
		ok = evn_matcher_accept(m, (uint8_t)text[i], NULL) == EVN_OK;
	ok = ok && evn_matcher_may_end(m) && evn_matcher_accept(m, END, NULL) == EVN_OK;
	evn_matcher_free(m);
	return ok;
}

#endif
