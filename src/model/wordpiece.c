/* wordpiece.c - cleans a text character by character and matches each word against the vocabulary. */
#include "model/wordpiece.h"
#include "model/wordpiece_table.h"
#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>

#define MARK "\xe2\x96\x81" /* U+2581 */
#define MARK_BYTES 3u
#define UTF8_BYTES 4u

struct evn_wordpiece {
	const evn_vocab *vocab;
	int32_t unknown;
	bool uncased; /* lower case, and no accents */
};

evn_status evn_wordpiece_create(evn_wordpiece **out, const evn_vocab *v, const evn_gguf *g, evn_error *err)
{
	bool lower = true, bare;
	int32_t unknown = v->n > 100 ? 100 : 0; /* as llama.cpp assumes */
	*out = NULL;
	EVN_TRY(evn_gguf_bool(g, "tokenizer.ggml.normalizer.lowercase", &lower, err));
	bare = lower;
	EVN_TRY(evn_gguf_bool(g, "tokenizer.ggml.normalizer.strip_accents", &bare, err));
	EVN_TRY(evn_vocab_special(v, g, "tokenizer.ggml.unknown_token_id", &unknown, err));
	if (lower != bare)
		return evn_fail(err, EVN_ERR_UNSUPPORTED,
						"%s: the tokenizer makes lower case %s accents, evener removes both or neither", v->file,
						lower ? "but keeps" : "no longer, but removes");
	evn_wordpiece *w = malloc(sizeof *w);
	if (!w)
		return evn_fail_memory(err, "tokenizer", sizeof *w);
	*w = (evn_wordpiece){.vocab = v, .unknown = unknown, .uncased = lower};
	*out = w;
	return EVN_OK;
}

void evn_wordpiece_free(evn_wordpiece *w) { free(w); }

/* ---- characters ------------------------------------------------------------------------------------------------ */

#define COUNT(table) (sizeof(table) / sizeof *(table))

/* 0: a part of a word. */
static uint8_t kind_of(uint32_t c)
{
	size_t low = 0, high = COUNT(kinds);
	while (low < high) {
		const size_t middle = (low + high) / 2;
		if (kinds[middle].last < c)
			low = middle + 1;
		else
			high = middle;
	}
	return low < COUNT(kinds) && kinds[low].first <= c ? kinds[low].kind : 0;
}

static uint32_t fold(uint32_t c)
{
	size_t low = 0, high = COUNT(folds);
	while (low < high) {
		const size_t middle = (low + high) / 2;
		if (folds[middle].first <= c)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == 0)
		return c;
	const uint32_t behind = c - folds[low - 1].first, step = folds[low - 1].step;
	if (behind / step >= folds[low - 1].n || behind % step)
		return c;
	return folds[low - 1].to + (folds[low - 1].same ? 0 : behind);
}

/* Lower case without accents, as one to three characters. Syllables of Hangul become their letters. Returns the
 * number of characters. */
static uint32_t fold_all(uint32_t c, uint32_t out[3])
{
	if (c >= 0xac00 && c < 0xac00 + 11172) {
		const uint32_t s = c - 0xac00;
		out[0] = 0x1100 + s / 588;
		out[1] = 0x1161 + s % 588 / 28;
		out[2] = 0x11a7 + s % 28;
		return s % 28 ? 3 : 2;
	}
	for (size_t i = 0; i < COUNT(unfolds); i++)
		if (unfolds[i].from == c) {
			memcpy(out, unfolds[i].to, sizeof unfolds[i].to);
			return out[2] ? 3 : 2;
		}
	out[0] = fold(c);
	return 1;
}

/* A valid character of `length` bytes. */
static uint32_t decode(const char *p, size_t length)
{
	static const uint8_t first_bits[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
	uint32_t c = (uint8_t)p[0] & first_bits[length];
	for (size_t i = 1; i < length; i++)
		c = c << 6 | ((uint8_t)p[i] & 0x3f);
	return c;
}

static size_t put_utf8(char *out, uint32_t c)
{
	const size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
	static const uint8_t first[] = {0, 0, 0xc0, 0xe0, 0xf0};
	for (size_t i = n; i-- > 1; c >>= 6)
		out[i] = (char)(0x80 | (c & 0x3f));
	out[0] = (char)(first[n] | c);
	return n;
}

/* ---- words ----------------------------------------------------------------------------------------------------- */

typedef struct {
	char text[MARK_BYTES + UTF8_BYTES * EVN_WORDPIECE_MAX_CHARS]; /* begins with the mark */
	size_t bytes;
	size_t n_chars; /* those behind the limit are counted, but not kept */
} word;

/* The end of the longest token that is text[begin .. end); `begin` if there is none. */
static size_t longest_token(const evn_wordpiece *w, const word *text, size_t begin, int32_t *id)
{
	const size_t most = w->vocab->max_bytes;
	size_t end = text->bytes - begin > most ? begin + most : text->bytes;
	for (; end > begin; end--) {
		if (end < text->bytes && ((uint8_t)text->text[end] & 0xc0) == 0x80)
			continue; /* inside a character */
		*id = evn_vocab_find(w->vocab, text->text + begin, end - begin);
		if (*id >= 0)
			break;
	}
	return end;
}

/* Appends the word's tokens, and empties it. */
static evn_status end_word(const evn_wordpiece *w, word *of, evn_ids *out, evn_error *err)
{
	const size_t n_before = out->n;
	bool spelled = of->n_chars <= EVN_WORDPIECE_MAX_CHARS;
	for (size_t at = 0, end; spelled && of->n_chars && at < of->bytes; at = end) {
		int32_t id;
		end = longest_token(w, of, at, &id);
		spelled = end > at;
		if (spelled)
			EVN_TRY(evn_ids_push(out, id, err));
	}
	if (!spelled) {
		out->n = n_before;
		EVN_TRY(evn_ids_push(out, w->unknown, err));
	}
	of->bytes = MARK_BYTES;
	of->n_chars = 0;
	return EVN_OK;
}

static void add_char(word *to, uint32_t c)
{
	if (to->n_chars++ < EVN_WORDPIECE_MAX_CHARS)
		to->bytes += put_utf8(to->text + to->bytes, c);
}

static evn_status take_char(const evn_wordpiece *w, word *to, uint32_t c, evn_ids *out, evn_error *err)
{
	const uint8_t kind = kind_of(c);
	uint32_t plain[3] = {c};
	if (kind == D || (kind == M && w->uncased))
		return EVN_OK;
	if (kind == S || kind == A)
		EVN_TRY(end_word(w, to, out, err));
	if (kind == S)
		return EVN_OK;
	const uint32_t n = w->uncased ? fold_all(c, plain) : 1;
	for (uint32_t i = 0; i < n; i++)
		add_char(to, plain[i]);
	return kind == A ? end_word(w, to, out, err) : EVN_OK;
}

evn_status evn_wordpiece_encode(const evn_wordpiece *w, const char *text, size_t n, evn_ids *out, evn_error *err)
{
	word current = {.text = MARK, .bytes = MARK_BYTES};
	for (size_t at = 0, length; at < n; at += length) {
		size_t whole;
		length = evn_utf8_prefix(text + at, n - at, &whole);
		if (length > 0 && length == whole)
			EVN_TRY(take_char(w, &current, decode(text + at, length), out, err));
		else
			length = 1; /* a broken byte is dropped */
	}
	return end_word(w, &current, out, err);
}
