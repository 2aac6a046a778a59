/* tokenizer.c - what all tokenizers share: which one a file asks for, special tokens in and around a text, ids back
 * to bytes. */
#include "model/tokenizer.h"
#include "model/bpe.h"
#include "model/special.h"
#include "model/spm.h"
#include "model/unigram.h"
#include "model/wordpiece.h"

#include <stdlib.h>
#include <string.h>

struct evn_tokenizer {
	evn_vocab vocab;
	evn_special special;
	evn_bpe *bpe; /* one of the four is set */
	evn_spm *spm;
	evn_wordpiece *wordpiece;
	evn_unigram *unigram;
	int32_t bos, eos; /* -1: none */
	bool adds_bos, adds_eos;
	bool adds_space; /* SPM, Unigram: add a space before a text at the beginning or after a special token */
};

/* BERT puts [CLS] before a text and [SEP] behind it, always. Old files name them by other keys, or not at all. */
static evn_status load_wordpiece(evn_tokenizer *t, const evn_gguf *g, evn_error *err)
{
	t->bos = t->vocab.n > 101 ? 101 : -1;
	t->eos = t->vocab.n > 102 ? 102 : -1;
	EVN_TRY(evn_vocab_special(&t->vocab, g, "tokenizer.ggml.cls_token_id", &t->bos, err));
	EVN_TRY(evn_vocab_special(&t->vocab, g, "tokenizer.ggml.seperator_token_id", &t->eos, err));
	t->adds_bos = t->adds_eos = true;
	t->adds_space = true; /* of the first word, which is removed by decode */
	return evn_wordpiece_create(&t->wordpiece, &t->vocab, g, err);
}

/* T5's order: <pad>, </s>, <unk>. A text ends with </s>. */
static evn_status load_unigram(evn_tokenizer *t, const evn_gguf *g, evn_error *err)
{
	t->eos = t->vocab.n > 1 ? 1 : -1;
	t->adds_eos = true;
	t->adds_space = true;
	EVN_TRY(evn_gguf_bool(g, "tokenizer.ggml.add_space_prefix", &t->adds_space, err));
	return evn_unigram_create(&t->unigram, &t->vocab, g, err);
}

static evn_status load_kind(evn_tokenizer *t, const evn_gguf *g, evn_error *err)
{
	evn_str kind = {"", 0};
	EVN_TRY(evn_gguf_string(g, "tokenizer.ggml.model", &kind, err));
	if (kind.length == 0)
		return evn_fail(err, EVN_ERR_FORMAT, "%s: no tokenizer (tokenizer.ggml.model)", t->vocab.file);
	if (evn_str_is(kind, "gpt2") || evn_str_is(kind, "gemma4")) {
		EVN_TRY(evn_bpe_create(&t->bpe, &t->vocab, g, err));
		t->adds_bos = evn_bpe_adds_bos(t->bpe);
		return EVN_OK;
	}
	if (evn_str_is(kind, "bert"))
		return load_wordpiece(t, g, err);
	if (evn_str_is(kind, "t5"))
		return load_unigram(t, g, err);
	if (!evn_str_is(kind, "llama"))
		return evn_fail(err, EVN_ERR_UNSUPPORTED,
						"%s: tokenizer.ggml.model is \"%.*s\", expected \"gpt2\", \"gemma4\", \"llama\", \"bert\" or "
						"\"t5\"",
						t->vocab.file, (int)(kind.length < 40 ? kind.length : 40), kind.text);
	t->adds_bos = true;
	t->adds_space = true;
	t->bos = t->vocab.n > 1 ? 1 : -1; /* SentencePiece's order: <unk>, <s>, </s> */
	t->eos = t->vocab.n > 2 ? 2 : -1;
	EVN_TRY(evn_gguf_bool(g, "tokenizer.ggml.add_space_prefix", &t->adds_space, err));
	return evn_spm_create(&t->spm, &t->vocab, g, err);
}

/* Whether `id` is added. `key` decides, else the habit of the family. Without an id nothing is added. */
static evn_status load_adds(const evn_tokenizer *t, const evn_gguf *g, const char *key, const char *id_key,
							int32_t id, bool *adds, evn_error *err)
{
	EVN_TRY(evn_gguf_bool(g, key, adds, err));
	if (*adds && id < 0) {
		if (evn_gguf_find(g, key))
			return evn_fail(err, EVN_ERR_FORMAT, "%s: \"%s\" is true, but there is no \"%s\"", t->vocab.file, key,
							id_key);
		*adds = false;
	}
	return EVN_OK;
}

static evn_status load(evn_tokenizer *t, const evn_gguf *g, evn_error *err)
{
	EVN_TRY(evn_vocab_load(&t->vocab, g, err));
	EVN_TRY(load_kind(t, g, err));
	EVN_TRY(evn_special_load(&t->special, &t->vocab, g, err));
	EVN_TRY(evn_vocab_special(&t->vocab, g, "tokenizer.ggml.bos_token_id", &t->bos, err));
	if (!t->wordpiece)
		EVN_TRY(evn_vocab_special(&t->vocab, g, "tokenizer.ggml.eos_token_id", &t->eos, err));
	if (t->eos >= 0)
		t->vocab.ends[t->eos] = true;
	EVN_TRY(
		load_adds(t, g, "tokenizer.ggml.add_bos_token", "tokenizer.ggml.bos_token_id", t->bos, &t->adds_bos, err));
	return load_adds(t, g, "tokenizer.ggml.add_eos_token", "tokenizer.ggml.eos_token_id", t->eos, &t->adds_eos, err);
}

evn_status evn_tokenizer_create(evn_tokenizer **out, const evn_gguf *g, evn_error *err)
{
	evn_tokenizer *t = calloc(1, sizeof *t);
	*out = NULL;
	if (!t)
		return evn_fail_memory(err, "tokenizer", sizeof *t);
	t->vocab.file = evn_gguf_name(g);
	t->bos = t->eos = -1;
	evn_status status = load(t, g, err);
	if (status == EVN_OK)
		*out = t;
	else
		evn_tokenizer_free(t);
	return status;
}

void evn_tokenizer_free(evn_tokenizer *t)
{
	if (!t)
		return;
	evn_bpe_free(t->bpe);
	evn_spm_free(t->spm);
	evn_wordpiece_free(t->wordpiece);
	evn_unigram_free(t->unigram);
	evn_special_clear(&t->special);
	evn_vocab_clear(&t->vocab);
	free(t);
}

static bool in_vocab(const evn_tokenizer *t, int32_t id) { return id >= 0 && (uint32_t)id < t->vocab.n; }

bool evn_tokenizer_ends_generation(const evn_tokenizer *t, int32_t id)
{
	return in_vocab(t, id) && t->vocab.ends[id];
}

static evn_status encode_fragments(const evn_tokenizer *t, const char *text, const evn_fragments *fragments,
								   evn_ids *out, evn_error *err)
{
	bool after_special = true; /* the beginning counts too */
	for (size_t i = 0; i < fragments->n; i++) {
		evn_fragment f = fragments->data[i];
		size_t n = f.end - f.begin;
		if (f.id >= 0)
			EVN_TRY(evn_ids_push(out, f.id, err));
		else if (t->bpe)
			EVN_TRY(evn_bpe_encode(t->bpe, text + f.begin, n, out, err));
		else if (t->wordpiece)
			EVN_TRY(evn_wordpiece_encode(t->wordpiece, text + f.begin, n, out, err));
		else if (t->unigram)
			EVN_TRY(evn_unigram_encode(t->unigram, text + f.begin, n, t->adds_space && after_special, out, err));
		else
			EVN_TRY(evn_spm_encode(t->spm, text + f.begin, n, t->adds_space && after_special, out, err));
		after_special = f.id >= 0;
	}
	return EVN_OK;
}

static evn_status check_size(size_t n, evn_error *err)
{
	if (n <= EVN_TEXT_MAX_BYTES)
		return EVN_OK;
	return evn_fail(err, EVN_ERR_LIMIT, "a text of %zu bytes is longer than the %u that can be tokenized at once", n,
					EVN_TEXT_MAX_BYTES);
}

static evn_status encode_text(const evn_tokenizer *t, const evn_special_text *text, evn_ids *out, evn_error *err)
{
	evn_fragments fragments = {0};
	evn_status status = evn_special_split(&t->special, &t->vocab, text, &fragments, err);
	if (status == EVN_OK)
		status = encode_fragments(t, text->text, &fragments, out, err);
	free(fragments.data);
	return status;
}

static evn_status encode(const evn_tokenizer *t, const evn_special_text *text, bool add_special, evn_ids *out,
						 evn_error *err)
{
	EVN_TRY(check_size(text->n, err));
	if (add_special && t->adds_bos)
		EVN_TRY(evn_ids_push(out, t->bos, err));
	EVN_TRY(encode_text(t, text, out, err));
	return add_special && t->adds_eos ? evn_ids_push(out, t->eos, err) : EVN_OK;
}

/* Hands out the ids, or frees them. A text without tokens gets an array as well: C has no memcpy from NULL, not even
 * of no bytes. */
static evn_status give(evn_ids *out, evn_status status, int32_t **ids, size_t *n_ids, evn_error *err)
{
	if (status == EVN_OK && !out->data && !(out->data = malloc(sizeof *out->data)))
		status = evn_fail_memory(err, "token ids", sizeof *out->data);
	if (status != EVN_OK) {
		free(out->data);
		*out = (evn_ids){0};
	}
	*ids = out->data;
	*n_ids = out->n;
	return status;
}

evn_status evn_tokenizer_encode(const evn_tokenizer *t, const char *text, size_t text_bytes, bool add_special,
								bool parse_special, int32_t **ids, size_t *n_ids, size_t *n_lost, evn_error *err)
{
	evn_ids out = {0};
	const evn_special_text whole = {.text = text, .n = text_bytes, .parse_special = parse_special};
	evn_status status = give(&out, encode(t, &whole, add_special, &out, err), ids, n_ids, err);
	if (n_lost)
		*n_lost = out.n_lost;
	return status;
}

/* Whether the text begins with the text of BOS, by which the template has added it. */
static bool begins_with_bos(const evn_tokenizer *t, const char *text, const uint8_t *foreign, size_t n)
{
	evn_str bos = t->vocab.texts[t->bos];
	return bos.length > 0 && n >= bos.length && memcmp(text, bos.text, (size_t)bos.length) == 0 &&
		   !memchr(foreign, 1, (size_t)bos.length);
}

evn_status evn_tokenizer_encode_chat(const evn_tokenizer *t, const char *text, const uint8_t *foreign, size_t n,
									 int32_t **ids, size_t *n_ids, evn_error *err)
{
	evn_ids out = {0};
	const evn_special_text whole = {.text = text, .n = n, .parse_special = true, .foreign = foreign};
	evn_status status = check_size(n, err);
	if (status == EVN_OK && t->adds_bos && !begins_with_bos(t, text, foreign, n))
		status = evn_ids_push(&out, t->bos, err);
	if (status == EVN_OK)
		status = encode_text(t, &whole, &out, err);
	return give(&out, status, ids, n_ids, err);
}

int32_t evn_tokenizer_find(const evn_tokenizer *t, const char *text)
{
	return evn_vocab_find(&t->vocab, text, strlen(text));
}

int32_t evn_tokenizer_bos(const evn_tokenizer *t) { return t->bos; }
int32_t evn_tokenizer_eos(const evn_tokenizer *t) { return t->eos; }

size_t evn_tokenizer_max_bytes(const evn_tokenizer *t) { return t->vocab.max_bytes; }

size_t evn_tokenizer_spell(const evn_tokenizer *t, int32_t id, bool unparse_special, char *out)
{
	if (!in_vocab(t, id))
		return 0;
	evn_str text = t->vocab.texts[id];
	switch (t->vocab.types[id]) {
	case EVN_TOKEN_CONTROL:
	case EVN_TOKEN_UNKNOWN:
		if (!unparse_special)
			return 0;
		break;
	case EVN_TOKEN_USER_DEFINED:
		break;
	case EVN_TOKEN_BYTE:
		out[0] = (char)evn_token_byte(text);
		return 1;
	default:
		return t->bpe && !evn_bpe_of_characters(t->bpe) ? evn_bpe_spell(text, out) : evn_spm_spell(text, out);
	}
	memcpy(out, text.text, (size_t)text.length);
	return (size_t)text.length;
}

/* The most bytes that the text of these ids can have. */
static evn_status measure(const evn_tokenizer *t, const int32_t *ids, size_t n_ids, size_t *bytes, evn_error *err)
{
	*bytes = 0;
	for (size_t i = 0; i < n_ids; i++) {
		if (!in_vocab(t, ids[i]))
			return evn_fail(err, EVN_ERR_USAGE, "token id %d at place %zu is not in the vocabulary of %u tokens",
							ids[i], i, t->vocab.n);
		*bytes += (size_t)t->vocab.texts[ids[i]].length;
	}
	return EVN_OK;
}

evn_status evn_tokenizer_decode(const evn_tokenizer *t, const int32_t *ids, size_t n_ids, bool unparse_special,
								char **text, size_t *text_bytes, evn_error *err)
{
	size_t room, n = 0;
	*text = NULL;
	*text_bytes = 0;
	EVN_TRY(measure(t, ids, n_ids, &room, err));
	char *out = malloc(room + 1);
	if (!out)
		return evn_fail_memory(err, "text", room + 1);
	bool drops_space = t->adds_space;
	for (size_t i = 0; i < n_ids; i++) {
		size_t length = evn_tokenizer_spell(t, ids[i], unparse_special, out + n);
		if (length == 0)
			continue;
		if (drops_space && out[0] == ' ' && t->vocab.types[ids[i]] != EVN_TOKEN_USER_DEFINED)
			memmove(out, out + 1, --length);
		drops_space = false;
		n += length;
	}
	out[n] = '\0';
	*text = out;
	*text_bytes = n;
	return EVN_OK;
}
