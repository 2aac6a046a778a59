/* bpe.c - BPE on ids, byte-level or of characters. The merges are a hash table from pairs of ids to rank and id. The
 * 256 characters that spell bytes are used only to build the table and to look up a whole word. Merges work on texts:
 * a text that merges name but that is no token has an id of its own, above those of the vocabulary. */
#include "model/bpe.h"
#include "model/merge.h"
#include "model/pretokenizer.h"
#include "base/utf8.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_MERGES (1u << 28)
#define MARK "\xe2\x96\x81"        /* U+2581, stands for a space */
#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD, stands for a broken byte that the vocabulary lacks */

typedef struct {
	int32_t left, right; /* the key */
	int32_t merged;
} merge_rule; /* its index is its rank */

struct evn_bpe {
	const evn_vocab *vocab;
	bool of_characters;
	evn_pretokenizer *pretokenizer;
	merge_rule *rules;
	evn_table rules_by_pair;
	evn_str *parts; /* texts on either side of merges that are no tokens; their ids begin at vocab->n */
	uint32_t n_parts;
	evn_table parts_by_text;
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

static evn_key part_text(const void *parts, uint32_t i)
{
	const evn_str *part = (const evn_str *)parts + i;
	return (evn_key){part->text, (size_t)part->length};
}

static bool is_token(const evn_bpe *b, int32_t id) { return id >= 0 && (uint32_t)id < b->vocab->n; }

static int32_t find_text(const evn_bpe *b, evn_str s)
{
	int32_t id = evn_vocab_find(b->vocab, s.text, (size_t)s.length);
	if (id >= 0 || b->n_parts == 0)
		return id;
	uint32_t part = evn_table_find(&b->parts_by_text, s.text, (size_t)s.length);
	return part == EVN_NOT_FOUND ? -1 : (int32_t)(b->vocab->n + part);
}

/* A merge is written as two texts with a space between, the first of which may begin with one. */
static bool cut_merge(evn_str merge, evn_str *left, evn_str *right)
{
	const char *space = merge.length > 1 ? memchr(merge.text + 1, ' ', (size_t)merge.length - 1) : NULL;
	if (!space || merge.length > EVN_TOKEN_MAX_BYTES)
		return false;
	*left = (evn_str){merge.text, (uint64_t)(space - merge.text)};
	*right = (evn_str){space + 1, merge.length - left->length - 1};
	return true;
}

static merge_rule read_rule(const evn_bpe *b, evn_str merge)
{
	char joined[EVN_TOKEN_MAX_BYTES];
	evn_str left, right;
	if (!cut_merge(merge, &left, &right))
		return (merge_rule){-1, -1, -1};
	memcpy(joined, left.text, (size_t)left.length);
	memcpy(joined + left.length, right.text, (size_t)right.length);
	return (merge_rule){find_text(b, left), find_text(b, right),
						find_text(b, (evn_str){joined, left.length + right.length})};
}

static bool is_odd(const evn_bpe *b, const merge_rule *r)
{
	return !is_token(b, r->left) || !is_token(b, r->right) || !is_token(b, r->merged);
}

static void add_part(evn_bpe *b, evn_str text)
{
	if (find_text(b, text) >= 0)
		return;
	b->parts[b->n_parts] = text;
	evn_table_add(&b->parts_by_text, b->n_parts++);
}

/* Reads odd merges again once their texts have ids. */
static evn_status read_odd_rules(evn_bpe *b, const evn_gguf_value *merges, uint32_t n_odd, evn_error *err)
{
	b->parts = malloc(2 * (size_t)n_odd * sizeof *b->parts);
	if (!b->parts)
		return evn_fail_memory(err, "tokenizer", 2 * (uint64_t)n_odd * sizeof *b->parts);
	EVN_TRY(evn_table_create(&b->parts_by_text, 2 * n_odd, part_text, b->parts, "tokenizer", err));
	for (uint32_t rank = 0; rank < merges->count; rank++) {
		evn_str left, right;
		if (is_odd(b, &b->rules[rank]) && cut_merge(merges->strings[rank], &left, &right)) {
			add_part(b, left);
			add_part(b, right);
		}
	}
	for (uint32_t rank = 0; rank < merges->count; rank++)
		if (is_odd(b, &b->rules[rank]))
			b->rules[rank] = read_rule(b, merges->strings[rank]);
	return EVN_OK;
}

static evn_status read_rules(evn_bpe *b, const evn_gguf_value *merges, evn_error *err)
{
	uint32_t n_odd = 0, first = 0;
	for (uint32_t rank = 0; rank < merges->count; rank++) {
		b->rules[rank] = read_rule(b, merges->strings[rank]);
		if (is_odd(b, &b->rules[rank]) && n_odd++ == 0)
			first = rank;
	}
	if (n_odd == 0)
		return EVN_OK;
	evn_str shown = merges->strings[first];
	evn_log(EVN_LOG_WARN,
			"%s: %u of %" PRIu64 " merges name or make a text that is no token; the first is %u, \"%.*s\"",
			b->vocab->file, n_odd, merges->count, first, (int)(shown.length < 80 ? shown.length : 80), shown.text);
	return read_odd_rules(b, merges, n_odd, err);
}

static evn_status load_rules(evn_bpe *b, const evn_gguf *g, evn_error *err)
{
	const evn_gguf_value *merges;
	EVN_TRY(evn_gguf_array(g, "tokenizer.ggml.merges", EVN_GGUF_STRING, &merges, err));
	if (!merges)
		return evn_fail(err, EVN_ERR_FORMAT, "%s: no tokenizer.ggml.merges, which a \"gpt2\" tokenizer needs",
						b->vocab->file);
	if (merges->count > MAX_MERGES)
		return evn_fail(err, EVN_ERR_LIMIT, "%s: tokenizer.ggml.merges has %" PRIu64 " entries, more than %u",
						b->vocab->file, merges->count, MAX_MERGES);
	b->rules = malloc((merges->count + 1) * sizeof *b->rules); /* there may be none */
	if (!b->rules)
		return evn_fail_memory(err, "tokenizer", merges->count * sizeof *b->rules);
	EVN_TRY(evn_table_create(&b->rules_by_pair, (uint32_t)merges->count, pair_of, b->rules, "tokenizer", err));
	EVN_TRY(read_rules(b, merges, err));
	for (uint32_t rank = 0; rank < merges->count; rank++)
		if (b->rules[rank].left >= 0 && b->rules[rank].right >= 0)
			evn_table_add(&b->rules_by_pair, rank); /* of equal pairs the first counts */
	return EVN_OK;
}

/* The text of the token of a byte; returns its length. */
static size_t name_byte(const evn_bpe *b, uint8_t byte, char out[8])
{
	return b->of_characters ? (size_t)snprintf(out, 8, "<0x%02X>", byte) : spell_byte(byte, out);
}

static evn_status load(evn_bpe *b, const evn_gguf *g, evn_error *err)
{
	evn_str family = {"", 0}, kind = {"", 0};
	EVN_TRY(evn_gguf_string(g, "tokenizer.ggml.model", &kind, err));
	b->of_characters = evn_str_is(kind, "gemma4");
	EVN_TRY(evn_gguf_string(g, "tokenizer.ggml.pre", &family, err));
	if (b->of_characters)
		family = kind;
	EVN_TRY(evn_pretokenizer_create(&b->pretokenizer, family, b->vocab->file, err));
	EVN_TRY(load_rules(b, g, err));
	for (unsigned byte = 0; byte < 256; byte++) {
		char spelled[8];
		int32_t id = find_text(b, (evn_str){spelled, name_byte(b, (uint8_t)byte, spelled)});
		if (is_token(b, id) && b->vocab->types[id] == EVN_TOKEN_USER_DEFINED)
			id = -1; /* the code point spells itself, not a byte */
		b->byte_ids[byte] = id;
	}
	return EVN_OK;
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
	evn_table_clear(&b->parts_by_text);
	free(b->rules);
	free(b->parts);
	free(b);
}

bool evn_bpe_of_characters(const evn_bpe *b) { return b->of_characters; }

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
	if (b->of_characters)
		return evn_vocab_find(b->vocab, word, n);
	for (size_t i = 0; i < n && length + 2 <= sizeof spelled; i++)
		length += spell_byte((uint8_t)word[i], spelled + length);
	return evn_vocab_find(b->vocab, spelled, length);
}

/* The tokens of the bytes of a text that merges made but that is no token. Bytes without a token (rare control
 * characters in some vocabularies) are dropped, as llama.cpp does. */
static evn_status push_bytes(const evn_bpe *b, const char *text, uint32_t n, evn_ids *out, evn_error *err)
{
	for (uint32_t i = 0; i < n; i++) {
		int32_t id = b->byte_ids[(uint8_t)text[i]];
		if (is_token(b, id))
			EVN_TRY(evn_ids_push(out, id, err));
		else
			out->n_lost++;
	}
	return EVN_OK;
}

/* The initial symbols: bytes, or characters and bytes that belong to no character. */
static void first_symbols(const evn_bpe *b, evn_symbol *symbols, const char *word, uint32_t n)
{
	for (uint32_t at = 0, length = 1; at < n; at += length) {
		size_t whole;
		if (!b->of_characters) {
			symbols[at] = (evn_symbol){.id = b->byte_ids[(uint8_t)word[at]], .length = 1};
			continue;
		}
		length = (uint32_t)evn_utf8_prefix(word + at, n - at, &whole);
		if (length == 0 || length < whole)
			length = 1;
		symbols[at] = (evn_symbol){.id = find_text(b, (evn_str){word + at, length}), .length = length};
	}
}

/* Gemma 4 takes a run of newlines as a whole. */
static bool is_whole(const evn_bpe *b, const char *word)
{
	return evn_pretokenizer_ignores_merges(b->pretokenizer) || (b->of_characters && word[0] == '\n');
}

static evn_status encode_word(const evn_bpe *b, evn_merger *m, const char *word, uint32_t n, evn_ids *out,
							  evn_error *err)
{
	if (is_whole(b, word)) {
		int32_t id = find_word(b, word, n);
		if (id >= 0)
			return evn_ids_push(out, id, err);
	}
	EVN_TRY(evn_merger_reserve(m, n, err));
	first_symbols(b, m->symbols, word, n);
	evn_merge(m, n, find_rule, b);
	for (uint32_t i = 0; i < n; i += m->symbols[i].length) {
		const evn_symbol *s = &m->symbols[i];
		EVN_TRY(is_token(b, s->id) ? evn_ids_push(out, s->id, err) : push_bytes(b, word + i, s->length, out, err));
	}
	return EVN_OK;
}

static evn_status encode_text(const evn_bpe *b, const char *text, size_t n, evn_ids *out, evn_error *err)
{
	evn_words words = {0};
	evn_merger merger = {0};
	evn_status status = evn_pretokenizer_split(b->pretokenizer, text, n, &words, err);
	uint32_t begin = 0;
	for (size_t i = 0; i < words.n && status == EVN_OK; i++) {
		const char *word = text + begin;
		uint32_t length = words.ends[i] - begin;
		uint8_t first = (uint8_t)word[0];
		bool broken = length == 1 && first >= 0x80 && !is_token(b, b->byte_ids[first]);
		status = encode_word(b, &merger, broken ? REPLACEMENT : word, broken ? 3 : length, out, err);
		begin = words.ends[i];
	}
	evn_words_clear(&words);
	evn_merger_clear(&merger);
	return status;
}

evn_status evn_bpe_encode(const evn_bpe *b, const char *text, size_t n, evn_ids *out, evn_error *err)
{
	if (!b->of_characters)
		return encode_text(b, text, n, out, err);
	char *marked = malloc(strlen(MARK) * n + 1);
	if (!marked)
		return evn_fail_memory(err, "tokenizer", strlen(MARK) * n + 1);
	size_t length = 0;
	for (size_t i = 0; i < n; i++) {
		const bool space = text[i] == ' ';
		memcpy(marked + length, space ? MARK : text + i, space ? strlen(MARK) : 1);
		length += space ? strlen(MARK) : 1;
	}
	const evn_status status = encode_text(b, marked, length, out, err);
	free(marked);
	return status;
}
