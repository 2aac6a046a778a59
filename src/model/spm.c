/* spm.c - SentencePiece's BPE. Scores are turned into ranks once, so that merging compares integers as BPE does. */
#include "model/spm.h"
#include "model/merge.h"
#include "base/utf8.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MARK "\xe2\x96\x81" /* U+2581 */
#define MARK_BYTES 3

struct evn_spm {
	const evn_vocab *vocab;
	uint32_t *ranks;       /* by id; equal scores have the same rank */
	int32_t byte_ids[256]; /* the unknown token if the vocabulary has none */
	bool marks_begin;      /* no token has a mark after another character, so words merge independently */
};

typedef struct {
	float score;
	uint32_t id;
} scored;

static int by_score(const void *a, const void *b)
{
	float x = ((const scored *)a)->score, y = ((const scored *)b)->score;
	return (x < y) - (x > y);
}

static evn_status read_scores(const evn_vocab *v, const evn_gguf *g, scored *out, evn_error *err)
{
	const evn_gguf_value *scores;
	EVN_TRY(evn_gguf_array(g, "tokenizer.ggml.scores", EVN_GGUF_F32, &scores, err));
	if (!scores || scores->count != v->n)
		return evn_fail(err, EVN_ERR_FORMAT, "%s: tokenizer.ggml.scores has %" PRIu64 " entries for %u tokens",
						v->file, scores ? scores->count : 0, v->n);
	for (uint32_t id = 0; id < v->n; id++) {
		uint32_t bits = (uint32_t)evn_load_le(scores->data + 4 * (size_t)id, 4);
		memcpy(&out[id].score, &bits, sizeof bits);
		out[id].id = id;
		if (isnan(out[id].score))
			return evn_fail(err, EVN_ERR_FORMAT, "%s: tokenizer.ggml.scores[%u] is not a number", v->file, id);
	}
	return EVN_OK;
}

static evn_status load_ranks(evn_spm *s, const evn_gguf *g, evn_error *err)
{
	uint32_t n = s->vocab->n;
	s->ranks = malloc(n * sizeof *s->ranks);
	scored *order = malloc(n * sizeof *order);
	evn_status status = s->ranks && order ? read_scores(s->vocab, g, order, err)
										  : evn_fail_memory(err, "tokenizer", n * (sizeof *s->ranks + sizeof *order));
	if (status == EVN_OK) {
		qsort(order, n, sizeof *order, by_score);
		for (uint32_t i = 0, rank = 0; i < n; i++) {
			rank += i > 0 && order[i].score < order[i - 1].score;
			s->ranks[order[i].id] = rank;
		}
	}
	free(order);
	return status;
}

static size_t count_marks(const char *text, size_t n)
{
	size_t marks = 0;
	while (MARK_BYTES * (marks + 1) <= n && memcmp(text + MARK_BYTES * marks, MARK, MARK_BYTES) == 0)
		marks++;
	return marks;
}

static bool all_marks_begin(const evn_vocab *v)
{
	for (uint32_t id = 0; id < v->n; id++) {
		evn_str t = v->texts[id];
		size_t begin = MARK_BYTES * count_marks(t.text, (size_t)t.length);
		if (memmem(t.text + begin, (size_t)t.length - begin, MARK, MARK_BYTES))
			return false;
	}
	return true;
}

static evn_status load_bytes(evn_spm *s, const evn_gguf *g, evn_error *err)
{
	int32_t unknown = 0;
	EVN_TRY(evn_vocab_special(s->vocab, g, "tokenizer.ggml.unknown_token_id", &unknown, err));
	for (unsigned byte = 0; byte < 256; byte++) {
		char text[8], raw = (char)byte;
		snprintf(text, sizeof text, "<0x%02X>", byte);
		int32_t id = evn_vocab_find(s->vocab, text, 6);
		if (id < 0)
			id = evn_vocab_find(s->vocab, &raw, 1);
		s->byte_ids[byte] = id >= 0 ? id : unknown;
	}
	return EVN_OK;
}

evn_status evn_spm_create(evn_spm **out, const evn_vocab *v, const evn_gguf *g, evn_error *err)
{
	evn_spm *s = calloc(1, sizeof *s);
	*out = NULL;
	if (!s)
		return evn_fail_memory(err, "tokenizer", sizeof *s);
	s->vocab = v;
	s->marks_begin = all_marks_begin(v);
	evn_status status = load_ranks(s, g, err);
	if (status == EVN_OK)
		status = load_bytes(s, g, err);
	if (status == EVN_OK)
		*out = s;
	else
		evn_spm_free(s);
	return status;
}

void evn_spm_free(evn_spm *s)
{
	if (!s)
		return;
	free(s->ranks);
	free(s);
}

size_t evn_spm_spell(evn_str text, char *out)
{
	size_t n = 0;
	for (size_t i = 0; i < text.length;) {
		bool mark = text.length - i >= MARK_BYTES && memcmp(text.text + i, MARK, MARK_BYTES) == 0;
		out[n++] = mark ? ' ' : text.text[i];
		i += mark ? MARK_BYTES : 1;
	}
	return n;
}

typedef struct {
	const evn_spm *spm;
	const char *text;
} pair_context;

static void find_pair(const void *user, uint32_t begin, evn_symbol *left, const evn_symbol *right)
{
	const pair_context *c = user;
	size_t length = (size_t)left->length + right->length;
	int32_t id = length <= c->spm->vocab->max_bytes ? evn_vocab_find(c->spm->vocab, c->text + begin, length) : -1;
	if (id >= 0) {
		left->rank = c->spm->ranks[id];
		left->merged = id;
	}
}

/* The initial symbols: characters, and bytes that belong to no character. */
static void first_symbols(const evn_spm *s, evn_symbol *symbols, const char *text, uint32_t n)
{
	for (uint32_t at = 0, length; at < n; at += length) {
		size_t whole;
		length = (uint32_t)evn_utf8_prefix(text + at, n - at, &whole);
		if (length == 0 || length < whole)
			length = 1;
		symbols[at] = (evn_symbol){.id = evn_vocab_find(s->vocab, text + at, length), .length = length};
	}
}

static evn_status push_symbol(const evn_spm *s, const evn_symbol *symbol, const char *text, evn_ids *out,
							  evn_error *err)
{
	if (symbol->id >= 0)
		return evn_ids_push(out, symbol->id, err);
	for (uint32_t i = 0; i < symbol->length; i++)
		EVN_TRY(evn_ids_push(out, s->byte_ids[(uint8_t)text[i]], err));
	return EVN_OK;
}

static evn_status encode_word(const evn_spm *s, evn_merger *m, const char *text, uint32_t n, evn_ids *out,
							  evn_error *err)
{
	EVN_TRY(evn_merger_reserve(m, n, err));
	pair_context context = {s, text};
	first_symbols(s, m->symbols, text, n);
	evn_merge(m, n, find_pair, &context);
	for (uint32_t i = 0; i < n; i += m->symbols[i].length)
		EVN_TRY(push_symbol(s, &m->symbols[i], text + i, out, err));
	return EVN_OK;
}

/* The end of the leading marks and of the word after them. No token spans that place. */
static size_t word_bytes(const evn_spm *s, const char *text, size_t n)
{
	if (!s->marks_begin)
		return n;
	size_t begin = MARK_BYTES * count_marks(text, n);
	const char *next = memmem(text + begin, n - begin, MARK, MARK_BYTES);
	return next ? (size_t)(next - text) : n;
}

static evn_status encode_marked(const evn_spm *s, const char *text, size_t n, evn_ids *out, evn_error *err)
{
	evn_merger m = {0};
	evn_status status = EVN_OK;
	for (size_t at = 0, length; at < n && status == EVN_OK; at += length) {
		length = word_bytes(s, text + at, n - at);
		status = encode_word(s, &m, text + at, (uint32_t)length, out, err);
	}
	evn_merger_clear(&m);
	return status;
}

evn_status evn_spm_encode(const evn_spm *s, const char *text, size_t n, bool space_before, evn_ids *out,
						  evn_error *err)
{
	char *marked = malloc(MARK_BYTES * (n + 1));
	if (!marked)
		return evn_fail_memory(err, "tokenizer", MARK_BYTES * (n + 1));
	size_t length = 0;
	for (size_t i = 0; i < n + space_before; i++) {
		char c = space_before ? i == 0 ? ' ' : text[i - 1] : text[i];
		if (c == ' ') {
			memcpy(marked + length, MARK, MARK_BYTES);
			length += MARK_BYTES;
		} else {
			marked[length++] = c;
		}
	}
	evn_status status = encode_marked(s, marked, length, out, err);
	free(marked);
	return status;
}
