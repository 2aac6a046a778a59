/* fuzz_grammar.c - grammars of any text. The first byte selects the kind. A grammar that compiles writes a text: the
 * mask is never empty unless the text is complete, and what it allows is accepted. */
#include "fuzz.h"

#include "grammar/grammar.h"

enum { N_WORDS = 262, END = 261, MOST_STEPS = 24 };

static evn_vocabulary *make_vocabulary(void)
{
	static char bytes[256];
	static const char *const more[] = {"\":", "{\"", "\"}", "ab", "true"};
	evn_word words[N_WORDS];
	evn_vocabulary *v;
	for (int i = 0; i < 256; i++) {
		bytes[i] = (char)i;
		words[i] = (evn_word){&bytes[i], 1, false};
	}
	for (int i = 256; i < END; i++)
		words[i] = (evn_word){more[i - 256], (uint32_t)strlen(more[i - 256]), false};
	words[END] = (evn_word){"<end>", 5, true};
	MUST(evn_vocabulary_of_words(&v, words, N_WORDS, NULL) == EVN_OK);
	return v;
}

/* The first allowed token from `from` on, in a circle; -1: none. */
static int32_t allowed(const uint64_t *mask, uint32_t from)
{
	for (uint32_t i = 0; i < N_WORDS; i++) {
		const uint32_t id = (from + i) % N_WORDS;
		if (mask[id / 64] >> id % 64 & 1)
			return (int32_t)id;
	}
	return -1;
}

static void write_text(evn_grammar *g, const uint8_t *data, size_t size)
{
	evn_matcher *m;
	evn_error err;
	MUST(evn_matcher_create(&m, g, NULL) == EVN_OK);
	for (unsigned step = 0; step < MOST_STEPS && !evn_matcher_is_complete(m); step++) {
		const uint64_t *mask;
		const evn_status s = evn_matcher_mask(m, &mask, &err);
		if (s == EVN_ERR_LIMIT || (s == EVN_ERR_USAGE && step == 0)) /* too ambiguous; no text is of this grammar */
			break;
		MUST(s == EVN_OK);
		const int32_t id = allowed(mask, size ? data[step % size] * 7u : 0);
		MUST(id >= 0);
		MUST(id != END || evn_matcher_may_end(m));
		MUST(evn_matcher_accept(m, id, &err) == EVN_OK);
		if (id == END)
			break;
	}
	evn_matcher_free(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static evn_vocabulary *v;
	evn_grammar *g = NULL;
	evn_error err = {0};
	if (!v)
		v = make_vocabulary();
	if (size == 0)
		return 0;
	const evn_grammar_kind kind = data[0] % (EVN_GRAMMAR_TOOLS + 1);
	const evn_status s = evn_grammar_create(&g, v, kind, (const char *)data + 1, size - 1, &err);
	MUST(s == EVN_OK || s == EVN_ERR_USAGE || s == EVN_ERR_UNSUPPORTED || s == EVN_ERR_LIMIT);
	MUST(s == EVN_OK || (err.text[0] && !strchr(err.text, '\n')));
	if (s == EVN_OK) {
		fuzz_valid++;
		write_text(g, data, size);
		evn_grammar_free(g);
	}
	return 0;
}
