/* vocabulary.c - the tokens of a model as words for grammars. */
#include <stdlib.h>
#include <string.h>

#include "grammar/grammar.h"
#include "model/model.h"

/* Control tokens have no text, so a grammar never allows them, but for those that end a text, and for marks. These
 * begin with a byte that is part of no character, and no other word has it: only EVN_GRAMMAR_TOOLS asks for them. */
static size_t spell(const evn_tokenizer *t, int32_t id, char *out)
{
	const size_t n = evn_tokenizer_spell_mark(t, id, out + 1);
	*out = (char)EVN_MARK_BYTE;
	if (n)
		return n + 1;
	const size_t length = evn_tokenizer_spell(t, id, false, out);
	return memchr(out, EVN_MARK_BYTE, length) ? 0 : length;
}

static void spell_all(const evn_model *m, const evn_tokenizer *t, evn_word *words, uint32_t n, char *text)
{
	uint32_t used = 0;
	for (uint32_t id = 0; id < n; id++) {
		const size_t length = spell(t, (int32_t)id, text + used);
		words[id] = (evn_word){text + used, (uint32_t)length, evn_token_ends_generation(m, (int32_t)id)};
		used += (uint32_t)length;
	}
}

static evn_status count_bytes(const evn_tokenizer *t, uint32_t n, uint64_t *bytes, evn_error *err)
{
	char *one = malloc(evn_tokenizer_max_bytes(t) + 2);
	if (!one)
		return evn_fail_memory(err, "vocabulary", 0);
	*bytes = evn_tokenizer_max_bytes(t) + 2;
	for (uint32_t id = 0; id < n; id++)
		*bytes += spell(t, (int32_t)id, one);
	free(one);
	return *bytes <= UINT32_MAX ? EVN_OK
								: evn_fail(err, EVN_ERR_LIMIT, "vocabulary: its tokens have more than 4 GiB");
}

evn_status evn_vocabulary_create(evn_vocabulary **out, const evn_model *m, evn_error *err)
{
	evn_error own = {0};
	evn_error *e = err ? err : &own;
	const evn_hparams *h = evn_model_hparams(m);
	const evn_tokenizer *t = evn_model_tokenizer(m, e);
	uint64_t bytes = 0;
	*out = NULL;
	if (!t)
		return e->code;
	if (!h)
		return evn_model_require_hparams(m, &h, e);
	EVN_TRY(count_bytes(t, h->vocab, &bytes, e));
	evn_word *words = calloc(h->vocab, sizeof *words);
	char *text = malloc(bytes);
	evn_status status = words && text ? EVN_OK : evn_fail_memory(e, "vocabulary", bytes);
	if (status == EVN_OK) {
		spell_all(m, t, words, h->vocab, text);
		status = evn_vocabulary_of_words(out, words, h->vocab, e);
	}
	free(words);
	free(text);
	return status;
}
