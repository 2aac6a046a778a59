/* bpe.c - byte-level BPE on ids. The merges are a hash table from pairs of ids to rank and id. The 256 characters
 * that spell bytes are used only to build the table and to look up a whole word. */
#include "model/bpe.h"
#include "model/merge.h"
#include "model/pretokenizer.h"
#include "base/utf8.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD, stands for a broken byte that the vocabulary lacks */

typedef struct {
	int32_t left, right; /* the key */
	int32_t merged;
} merge_rule; /* its index is its rank */

struct evn_bpe {
	const evn_vocab *vocab;
	evn_pretokenizer *pretokenizer;
	merge_rule *rules;
	evn_table rules_by_pair;
	int32_t byte_ids[256]; /* -1: none */
};

/* Printable Latin-1 characters spell themselves. Bytes 00-20, 7f-a0 and ad are spelled U+0100 to U+0143, in this
 * order. */
static unsigned code_of_byte(uint8_t byte)
{
	if (byte <= 0x20)
		return 0x100u + byte;
	if (byte >= 0x7f && byte <= 0xa0)
		return 0x121u + byte - 0x7fu;
	return byte == 0xad ? 0x143u : byte;
}

/* The byte that a code point spells, or -1. */
static int byte_of_code(unsigned code)
{
	if (code >= 0x100 && code <= 0x120)
		return (int)(code - 0x100);
	if (code >= 0x121 && code <= 0x142)
		return (int)(code - 0x121 + 0x7f);
	if (code == 0x143)
		return 0xad;
	return code < 0x100 && code_of_byte((uint8_t)code) == code ? (int)code : -1;
}

/* Writes the character that spells `byte` to out[2]; returns its length. */
static size_t spell_byte(uint8_t byte, char *out)
{
	unsigned code = code_of_byte(byte);
	if (code < 0x80) {
		out[0] = (char)code;
		return 1;
	}
	out[0] = (char)(0xc0 | code >> 6);
	out[1] = (char)(0x80 | (code & 0x3f));
	return 2;
}

size_t evn_bpe_spell(evn_str text, char *out)
{
	size_t n = 0;
	for (size_t at = 0, whole; at < text.length;) {
		const uint8_t *u = (const uint8_t *)text.text + at;
		size_t length = evn_utf8_prefix(text.text + at, (size_t)text.length - at, &whole);
		int byte = -1;
		if (length == whole && length == 1)
			byte = byte_of_code(u[0]);
		else if (length == whole && length == 2)
			byte = byte_of_code((u[0] & 0x1fu) << 6 | (u[1] & 0x3fu));
		if (length == 0)
			length = 1;
		if (byte >= 0)
			out[n++] = (char)byte;
		else
			for (size_t i = 0; i < length; i++)
				out[n++] = (char)u[i];
		at += length;
	}
	return n;
}

static evn_key pair_of(const void *rules, uint32_t rank)
{
	return (evn_key){(const merge_rule *)rules + rank, offsetof(merge_rule, merged)};
}

/* A merge is written as two tokens with a space between. Their joined text must be a token. */
static evn_status add_rule(evn_bpe *b, uint32_t rank, evn_str merge, evn_error *err)
{
	const evn_vocab *v = b->vocab;
	char joined[EVN_TOKEN_MAX_BYTES];
	const char *space = merge.length > 1 ? memchr(merge.text + 1, ' ', (size_t)merge.length - 1) : NULL;
	int shown = (int)(merge.length < 80 ? merge.length : 80);
	if (!space || merge.length > sizeof joined)
		return evn_fail(err, EVN_ERR_FORMAT,
						"%s: tokenizer.ggml.merges[%u] is \"%.*s\", expected two tokens and a space", v->file, rank,
						shown, merge.text);
	size_t left_bytes = (size_t)(space - merge.text), right_bytes = (size_t)merge.length - left_bytes - 1;
	memcpy(joined, merge.text, left_bytes);
	memcpy(joined + left_bytes, space + 1, right_bytes);
	int32_t left = evn_vocab_find(v, merge.text, left_bytes), right = evn_vocab_find(v, space + 1, right_bytes);
	int32_t merged = evn_vocab_find(v, joined, left_bytes + right_bytes);
	if (left < 0 || right < 0 || merged < 0)
		return evn_fail(err, EVN_ERR_FORMAT, "%s: tokenizer.ggml.merges[%u] \"%.*s\": %s is not in the vocabulary",
						v->file, rank, shown, merge.text,
						left < 0    ? "the left part"
						: right < 0 ? "the right part"
									: "the joined text");
	b->rules[rank] = (merge_rule){left, right, merged};
	evn_table_add(&b->rules_by_pair, rank); /* of equal pairs the first counts */
	return EVN_OK;
}

static evn_status load_rules(evn_bpe *b, const evn_gguf *g, evn_error *err)
{
	const evn_gguf_value *merges;
	EVN_TRY(evn_gguf_array(g, "tokenizer.ggml.merges", EVN_GGUF_STRING, &merges, err));
	if (!merges)
		return evn_fail(err, EVN_ERR_FORMAT, "%s: no tokenizer.ggml.merges, which a \"gpt2\" tokenizer needs",
						b->vocab->file);
	if (merges->count > INT32_MAX / 2)
		return evn_fail(err, EVN_ERR_LIMIT, "%s: tokenizer.ggml.merges has %" PRIu64 " entries", b->vocab->file,
						merges->count);
	b->rules = malloc((merges->count + 1) * sizeof *b->rules); /* there may be none */
	if (!b->rules)
		return evn_fail_memory(err, "tokenizer", merges->count * sizeof *b->rules);
	EVN_TRY(evn_table_create(&b->rules_by_pair, (uint32_t)merges->count, pair_of, b->rules, "tokenizer", err));
	for (uint32_t rank = 0; rank < merges->count; rank++)
		EVN_TRY(add_rule(b, rank, merges->strings[rank], err));
	return EVN_OK;
}

static evn_status load(evn_bpe *b, const evn_gguf *g, evn_error *err)
{
	evn_str family = {"", 0};
	EVN_TRY(evn_gguf_string(g, "tokenizer.ggml.pre", &family, err));
	EVN_TRY(evn_pretokenizer_create(&b->pretokenizer, family, b->vocab->file, err));
	for (unsigned byte = 0; byte < 256; byte++) {
		char spelled[2];
		int32_t id = evn_vocab_find(b->vocab, spelled, spell_byte((uint8_t)byte, spelled));
		if (id >= 0 && b->vocab->types[id] == EVN_TOKEN_USER_DEFINED)
			id = -1; /* the code point spells itself, not a byte */
		b->byte_ids[byte] = id;
	}
	return load_rules(b, g, err);
}

evn_status evn_bpe_create(evn_bpe **out, const evn_vocab *v, const evn_gguf *g, evn_error *err)
{
	evn_bpe *b = calloc(1, sizeof *b);
	*out = NULL;
	if (!b)
		return evn_fail_memory(err, "tokenizer", sizeof *b);
	b->vocab = v;
	evn_status status = load(b, g, err);
	if (status == EVN_OK)
		*out = b;
	else
		evn_bpe_free(b);
	return status;
}

void evn_bpe_free(evn_bpe *b)
{
	if (!b)
		return;
	evn_pretokenizer_free(b->pretokenizer);
	evn_table_clear(&b->rules_by_pair);
	free(b->rules);
	free(b);
}

bool evn_bpe_adds_bos(const evn_bpe *b) { return evn_pretokenizer_adds_bos(b->pretokenizer); }

static void find_rule(const void *user, uint32_t begin, evn_symbol *left, const evn_symbol *right)
{
	const evn_bpe *b = user;
	(void)begin;
	const uint32_t rank = evn_table_find(&b->rules_by_pair, (int32_t[]){left->id, right->id}, 2 * sizeof left->id);
	if (rank != EVN_NOT_FOUND) {
		left->rank = rank;
		left->merged = b->rules[rank].merged;
	}
}

static int32_t find_word(const evn_bpe *b, const char *word, size_t n)
{
	char spelled[EVN_TOKEN_MAX_BYTES];
	size_t length = 0;
	if (n > b->vocab->max_bytes)
		return -1;
	for (size_t i = 0; i < n && length + 2 <= sizeof spelled; i++)
		length += spell_byte((uint8_t)word[i], spelled + length);
	return evn_vocab_find(b->vocab, spelled, length);
}

/* Bytes without a token (rare control characters in some vocabularies) are dropped, as llama.cpp does. */
static evn_status encode_word(const evn_bpe *b, evn_merger *m, const char *word, uint32_t n, evn_ids *out,
							  evn_error *err)
{
	if (evn_pretokenizer_ignores_merges(b->pretokenizer)) {
		int32_t id = find_word(b, word, n);
		if (id >= 0)
			return evn_ids_push(out, id, err);
	}
	EVN_TRY(evn_merger_reserve(m, n, err));
	for (uint32_t i = 0; i < n; i++)
		m->symbols[i] = (evn_symbol){.id = b->byte_ids[(uint8_t)word[i]], .length = 1};
	evn_merge(m, n, find_rule, b);
	for (uint32_t i = 0; i < n; i += m->symbols[i].length) {
		if (m->symbols[i].id >= 0)
			EVN_TRY(evn_ids_push(out, m->symbols[i].id, err));
		else
			out->n_lost++;
	}
	return EVN_OK;
}

evn_status evn_bpe_encode(const evn_bpe *b, const char *text, size_t n, evn_ids *out, evn_error *err)
{
	evn_words words = {0};
	evn_merger merger = {0};
	evn_status status = evn_pretokenizer_split(b->pretokenizer, text, n, &words, err);
	uint32_t begin = 0;
	for (size_t i = 0; i < words.n && status == EVN_OK; i++) {
		const char *word = text + begin;
		uint32_t length = words.ends[i] - begin;
		uint8_t first = (uint8_t)word[0];
		bool broken = length == 1 && first >= 0x80 && b->byte_ids[first] < 0;
		status = encode_word(b, &merger, broken ? REPLACEMENT : word, broken ? 3 : length, out, err);
		begin = words.ends[i];
	}
	evn_words_clear(&words);
	evn_merger_clear(&merger);
	return status;
}
