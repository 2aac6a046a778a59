/* checkpoint_tokenizer.c - tokenizer.json, tokenizer_config.json and the chat template as the keys of a GGUF file.
 * Four kinds are read: byte-level BPE, SentencePiece's BPE with byte fallback and its Unigram, and BERT's WordPiece.
 */
#include "model/checkpoint_parts.h"
#include "model/vocab.h"
#include "model/wordpiece.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOKENIZER_BYTES ((size_t)256 << 20)
#define CONFIG_BYTES ((size_t)64 << 20)
#define MAX_TOKENS (1u << 22)
#define MARK "\xe2\x96\x81" /* U+2581, SentencePiece's space */

typedef struct {
	evn_checkpoint *c;
	const json_t *root, *model, *config; /* tokenizer.json, its model, tokenizer_config.json (may be NULL) */
	evn_str *texts;
	int32_t *kinds;
	float *scores;
	json_t *ids; /* of a Unigram's tokens, which are a list */
	char **made; /* texts that are in no file */
	uint32_t n, n_made;
} vocabulary;

static evn_status wrong(const vocabulary *v, const char *what)
{
	return evn_fail(v->c->err, EVN_ERR_FORMAT, "%s/tokenizer.json: %s", v->c->folder, what);
}

static bool has_text(const json_t *o, const char *key, const char *text)
{
	const char *s = json_string_value(json_object_get(o, key));
	return s && !strcmp(s, text);
}

/* Item i of a chain: a single step, or a Sequence of them in the array `list`. NULL behind the last. */
static const json_t *step_of(const json_t *chain, const char *list, size_t i)
{
	if (has_text(chain, "type", "Sequence"))
		return json_array_get(json_object_get(chain, list), i);
	return i == 0 && json_is_object(chain) ? chain : NULL;
}

static const json_t *find_step(const json_t *chain, const char *list, const char *type)
{
	const json_t *step;
	for (size_t i = 0; (step = step_of(chain, list, i)); i++)
		if (has_text(step, "type", type))
			return step;
	return NULL;
}

/* ---- tokens -----------------------------------------------------------------------------------------------------
 */

static evn_status set_token(vocabulary *v, const json_t *id, const char *text, int32_t kind)
{
	if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= v->n || !text)
		return wrong(v, "a token has no text or an id outside of the vocabulary");
	const size_t i = (size_t)json_integer_value(id);
	v->texts[i] = (evn_str){text, strlen(text)};
	v->kinds[i] = kind;
	return EVN_OK;
}

/* Takes a text that was made, or NULL. */
static evn_status keep_text(vocabulary *v, char *text, const char **out)
{
	char **more = realloc(v->made, (v->n_made + 1u) * sizeof *more);
	v->made = more ? more : v->made;
	if (!text || !more) {
		free(text);
		return evn_fail_memory(v->c->err, v->c->folder, 0);
	}
	v->made[v->n_made++] = text;
	*out = text;
	return EVN_OK;
}

/* Spaces in place of the marks, as the tokenizer expects them in tokens of users. */
static evn_status plain_text(vocabulary *v, const char *text, const char **out)
{
	char *copy = evn_strdup(text), *to = copy;
	EVN_TRY(keep_text(v, copy, out));
	for (const char *from = text; *from;) {
		const bool mark = !strncmp(from, MARK, 3);
		*to++ = mark ? ' ' : *from;
		from += mark ? 3 : 1;
	}
	*to = '\0';
	return EVN_OK;
}

static bool looks_special(const char *text)
{
	const size_t n = strlen(text);
	return n > 4 && !strncmp(text, "<|", 2) && !strcmp(text + n - 2, "|>");
}

static evn_status read_added(vocabulary *v)
{
	size_t i;
	json_t *added;
	json_array_foreach(json_object_get(v->root, "added_tokens"), i, added)
	{
		const char *text = json_string_value(json_object_get(added, "content"));
		const bool special = json_is_true(json_object_get(added, "special")) || (text && looks_special(text));
		if (text && !special)
			EVN_TRY(plain_text(v, text, &text));
		EVN_TRY(
			set_token(v, json_object_get(added, "id"), text, special ? EVN_TOKEN_CONTROL : EVN_TOKEN_USER_DEFINED));
	}
	return EVN_OK;
}

/* Rows of the embedding that no token has. */
static evn_status fill_gaps(vocabulary *v)
{
	for (uint32_t id = 0; id < v->n; id++) {
		if (v->texts[id].text)
			continue;
		char name[32];
		const char *copy = NULL;
		snprintf(name, sizeof name, "[PAD%u]", id);
		EVN_TRY(plain_text(v, name, &copy));
		v->texts[id] = (evn_str){copy, strlen(copy)};
		v->kinds[id] = EVN_TOKEN_UNUSED;
	}
	return EVN_OK;
}

static void raise_count(uint32_t *n, const json_t *id)
{
	const json_int_t i = json_integer_value(id);
	if (i >= *n && i < MAX_TOKENS)
		*n = (uint32_t)i + 1;
}

static evn_status read_tokens(vocabulary *v, const json_t *vocab)
{
	const char *text;
	json_t *id;
	size_t i;
	v->n = v->c->n_tokens < MAX_TOKENS ? v->c->n_tokens : MAX_TOKENS;
	json_object_foreach((json_t *)(uintptr_t)vocab, text, id) raise_count(&v->n, id);
	json_array_foreach(json_object_get(v->root, "added_tokens"), i, id) raise_count(&v->n, json_object_get(id, "id"));
	v->texts = calloc(v->n + 1u, sizeof *v->texts);
	v->kinds = calloc(v->n + 1u, sizeof *v->kinds);
	v->scores = calloc(v->n + 1u, sizeof *v->scores);
	if (!v->texts || !v->kinds || !v->scores)
		return evn_fail_memory(v->c->err, v->c->folder, v->n * sizeof *v->texts);
	json_object_foreach((json_t *)(uintptr_t)vocab, text, id) EVN_TRY(set_token(v, id, text, EVN_TOKEN_NORMAL));
	EVN_TRY(read_added(v));
	return fill_gaps(v);
}

/* ---- merges -----------------------------------------------------------------------------------------------------
 */

/* Merge i as "left right": a string, or in newer files an array of two. */
static evn_status merge_at(vocabulary *v, const json_t *merges, size_t i, const char **out)
{
	const json_t *m = json_array_get(merges, i);
	const char *left = json_string_value(json_array_get(m, 0)), *right = json_string_value(json_array_get(m, 1));
	*out = json_string_value(m);
	if (!*out && left && right && json_array_size(m) == 2)
		EVN_TRY(keep_text(v, evn_format("%s %s", left, right), out));
	return *out && strchr(*out, ' ') ? EVN_OK : wrong(v, "a merge is no pair of tokens");
}

static evn_status put_merges(vocabulary *v, const json_t *merges)
{
	const size_t n = json_array_size(merges);
	evn_str *list = malloc((n + 1) * sizeof *list);
	evn_status s = list ? EVN_OK : evn_fail_memory(v->c->err, v->c->folder, n * sizeof *list);
	for (size_t i = 0; i < n && s == EVN_OK; i++) {
		const char *text;
		s = merge_at(v, merges, i, &text);
		if (s == EVN_OK)
			list[i] = (evn_str){text, strlen(text)};
	}
	if (s == EVN_OK)
		evn_gguf_put_strings(v->c->w, "tokenizer.ggml.merges", list, n);
	free(list);
	return s;
}

/* SentencePiece merges the piece with the best score. Converted files list the merges in the order of the scores. */
static evn_status score_pieces(vocabulary *v, const json_t *vocab, const json_t *merges)
{
	const size_t n = json_array_size(merges);
	for (uint32_t id = 0; id < v->n; id++)
		v->scores[id] = -1e9f;
	for (size_t i = n; i-- > 0;) { /* backwards, so that the first merge of a piece counts */
		const char *pair;
		EVN_TRY(merge_at(v, merges, i, &pair));
		const size_t left = strcspn(pair, " "), all = strlen(pair) - 1;
		char *piece = malloc(all + 1);
		if (!piece)
			return evn_fail_memory(v->c->err, v->c->folder, all + 1);
		memcpy(piece, pair, left);
		memcpy(piece + left, pair + left + 1, all - left + 1);
		const json_t *id = json_object_get(vocab, piece);
		free(piece);
		if (!id)
			return wrong(v, "a merge makes no token");
		v->scores[json_integer_value(id)] = -(float)i;
	}
	return EVN_OK;
}

/* ---- pre-tokenizers ---------------------------------------------------------------------------------------------
 */

#define ENGLISH "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?"
#define REST "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define CASED                                                                                                        \
	"[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+"                      \
	"|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*|\\p{N}"              \
	"| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

/* The steps of a pre-tokenizer, one behind the other, and the name that GGUF files have for them. */
static const struct {
	const char *steps, *name;
} pretokenizers[] = {
	{ENGLISH "\\p{L}+|\\p{N}{1,3}" REST, "dbrx"},
	{ENGLISH "\\p{L}+|\\p{N}" REST, "qwen2"},
	{ENGLISH "[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+", "qwen35"},
	{CASED, "tekken"},
	{"<bytes>", "gpt-2"},
	{"<digits><bytes>", "smollm"},
};

static evn_status put_pretokenizer(vocabulary *v)
{
	const json_t *chain = json_object_get(v->root, "pre_tokenizer"), *step;
	char steps[2048] = "";
	size_t used = 0;
	for (size_t i = 0; (step = step_of(chain, "pretokenizers", i)) && used < sizeof steps; i++) {
		const json_t *pattern = json_object_get(step, "pattern");
		const char *text = json_string_value(json_object_get(pattern, "Regex"));
		if (has_text(step, "type", "Digits"))
			text = json_is_true(json_object_get(step, "individual_digits")) ? "<digits>" : "<numbers>";
		else if (has_text(step, "type", "ByteLevel"))
			text = json_is_false(json_object_get(step, "use_regex")) ? "" : "<bytes>";
		used += (size_t)snprintf(steps + used, sizeof steps - used, "%s", text ? text : "<unknown>");
	}
	for (size_t i = 0; i < sizeof pretokenizers / sizeof *pretokenizers; i++) {
		const bool whole = i == 0 && json_is_true(json_object_get(v->model, "ignore_merges"));
		if (strcmp(steps, pretokenizers[i].steps) != 0)
			continue;
		evn_gguf_put_string(v->c->w, "tokenizer.ggml.pre", whole ? "llama-bpe" : pretokenizers[i].name);
		return EVN_OK;
	}
	return evn_fail(v->c->err, EVN_ERR_UNSUPPORTED, "%s/tokenizer.json: pre-tokenizer %.200s is not known",
					v->c->folder, steps);
}

/* ---- kinds ------------------------------------------------------------------------------------------------------
 */

static void put_tokens(const vocabulary *v, const char *model)
{
	evn_gguf_put_string(v->c->w, "tokenizer.ggml.model", model);
	evn_gguf_put_strings(v->c->w, "tokenizer.ggml.tokens", v->texts, v->n);
	evn_gguf_put_i32s(v->c->w, "tokenizer.ggml.token_type", v->kinds, v->n);
}

static evn_status put_byte_level(vocabulary *v, const json_t *merges)
{
	put_tokens(v, "gpt2");
	EVN_TRY(put_pretokenizer(v));
	return put_merges(v, merges);
}

/* A space before the text: by a step that prepends a mark, or by Metaspace unless it says never. */
static bool adds_space(const json_t *root)
{
	const json_t *meta = find_step(json_object_get(root, "pre_tokenizer"), "pretokenizers", "Metaspace");
	if (meta && json_object_get(meta, "prepend_scheme"))
		return !has_text(meta, "prepend_scheme", "never");
	if (meta)
		return !json_is_false(json_object_get(meta, "add_prefix_space"));
	return find_step(json_object_get(root, "normalizer"), "normalizers", "Prepend") != NULL;
}

static void put_scores(const vocabulary *v)
{
	evn_gguf_put_value(v->c->w, &(evn_gguf_value){.key = {"tokenizer.ggml.scores", 21},
												  .type = EVN_GGUF_ARRAY,
												  .element = EVN_GGUF_F32,
												  .count = v->n,
												  .data = (const uint8_t *)v->scores});
	evn_gguf_put_bool(v->c->w, "tokenizer.ggml.add_space_prefix", adds_space(v->root));
}

static evn_status put_sentencepiece(vocabulary *v, const json_t *vocab, const json_t *merges)
{
	const char *unknown = json_string_value(json_object_get(v->model, "unk_token"));
	const json_t *id = unknown ? json_object_get(vocab, unknown) : NULL;
	for (uint32_t i = 0; i < v->n; i++)
		if (v->kinds[i] == EVN_TOKEN_NORMAL && evn_token_byte(v->texts[i]) >= 0)
			v->kinds[i] = EVN_TOKEN_BYTE;
	if (id)
		v->kinds[json_integer_value(id)] = EVN_TOKEN_UNKNOWN;
	EVN_TRY(score_pieces(v, vocab, merges));
	put_tokens(v, "llama");
	put_scores(v);
	return EVN_OK;
}

/* ---- Unigram ----------------------------------------------------------------------------------------------------
 */

/* A list of texts and scores, in the order of their ids. */
static evn_status read_pieces(vocabulary *v, const json_t *list)
{
	size_t i;
	json_t *piece;
	v->ids = json_object();
	json_array_foreach((json_t *)(uintptr_t)list, i, piece)
	{
		const char *text = json_string_value(json_array_get(piece, 0));
		if (!text || !json_is_number(json_array_get(piece, 1)) || i >= MAX_TOKENS)
			return wrong(v, "expected a text and a score for each token of the vocabulary");
		if (json_object_set_new(v->ids, text, json_integer((json_int_t)i)) != 0)
			return evn_fail_memory(v->c->err, v->c->folder, 0);
	}
	EVN_TRY(read_tokens(v, v->ids));
	json_array_foreach((json_t *)(uintptr_t)list, i, piece) if (i < v->n) v->scores[i] =
		(float)json_number_value(json_array_get(piece, 1));
	return EVN_OK;
}

/* Runs of spaces become one where words are cut at white space before they are marked, or where a step says so. */
static bool trims(const json_t *root)
{
	return find_step(json_object_get(root, "pre_tokenizer"), "pretokenizers", "WhitespaceSplit") ||
		   find_step(json_object_get(root, "normalizer"), "normalizers", "Replace");
}

static evn_status put_unigram(vocabulary *v)
{
	const json_t *unknown = json_object_get(v->model, "unk_id");
	const json_t *map = find_step(json_object_get(v->root, "normalizer"), "normalizers", "Precompiled");
	const bool bytes = json_is_true(json_object_get(v->model, "byte_fallback"));
	EVN_TRY(read_pieces(v, json_object_get(v->model, "vocab")));
	if (!json_is_integer(unknown) || json_integer_value(unknown) < 0 || json_integer_value(unknown) >= v->n)
		return wrong(v, "\"unk_id\": expected a token of the vocabulary");
	for (uint32_t i = 0; i < v->n && bytes; i++)
		if (v->kinds[i] == EVN_TOKEN_NORMAL && evn_token_byte(v->texts[i]) >= 0)
			v->kinds[i] = EVN_TOKEN_BYTE;
	v->kinds[json_integer_value(unknown)] = EVN_TOKEN_UNKNOWN;
	put_tokens(v, "t5");
	put_scores(v);
	evn_gguf_put_bool(v->c->w, "tokenizer.ggml.remove_extra_whitespaces", trims(v->root));
	return evn_checkpoint_charsmap(v->c, json_object_get(map, "precompiled_charsmap"));
}

/* ---- special tokens ---------------------------------------------------------------------------------------------
 */

/* The id of the token that tokenizer_config.json names, else the one in config.json; -1: none. */
static json_int_t special_id(const vocabulary *v, const char *name, const char *id_key)
{
	const json_t *token = json_object_get(v->config, name);
	const char *text = json_string_value(json_is_object(token) ? json_object_get(token, "content") : token);
	for (uint32_t id = 0; text && id < v->n; id++)
		if (evn_str_is(v->texts[id], text))
			return (json_int_t)id;
	const json_t *id = json_object_get(v->c->config, id_key);
	id = json_is_array(id) ? json_array_get(id, 0) : id;
	return json_is_integer(id) && json_integer_value(id) >= 0 && json_integer_value(id) < v->n
			   ? json_integer_value(id)
			   : -1;
}

/* Whether the template of texts begins (ends) with the token. */
static bool in_template(const vocabulary *v, const json_t *single, size_t at, json_int_t id)
{
	const char *text =
		json_string_value(json_object_get(json_object_get(json_array_get(single, at), "SpecialToken"), "id"));
	return text && id >= 0 && evn_str_is(v->texts[id], text);
}

static void put_adds(const vocabulary *v, json_int_t bos, json_int_t eos)
{
	const json_t *chain = json_object_get(v->root, "post_processor");
	const json_t *single = json_object_get(find_step(chain, "processors", "TemplateProcessing"), "single");
	const size_t n = json_array_size(single);
	bool begins = json_is_true(json_object_get(v->config, "add_bos_token"));
	bool ends = json_is_true(json_object_get(v->config, "add_eos_token"));
	if (n) {
		begins = in_template(v, single, 0, bos);
		ends = n > 1 && in_template(v, single, n - 1, eos);
	}
	evn_gguf_put_bool(v->c->w, "tokenizer.ggml.add_bos_token", begins && bos >= 0);
	evn_gguf_put_bool(v->c->w, "tokenizer.ggml.add_eos_token", ends && eos >= 0);
}

static void put_special(const vocabulary *v)
{
	static const char *const names[][3] = {
		{"bos_token", "bos_token_id", "tokenizer.ggml.bos_token_id"},
		{"eos_token", "eos_token_id", "tokenizer.ggml.eos_token_id"},
		{"unk_token", "unk_token_id", "tokenizer.ggml.unknown_token_id"},
		{"pad_token", "pad_token_id", "tokenizer.ggml.padding_token_id"},
	};
	json_int_t ids[4];
	for (size_t i = 0; i < 4; i++) {
		ids[i] = special_id(v, names[i][0], names[i][1]);
		if (ids[i] >= 0)
			evn_gguf_put_u32(v->c->w, names[i][2], (uint32_t)ids[i]);
	}
	put_adds(v, ids[0], ids[1]);
}

/* ---- WordPiece --------------------------------------------------------------------------------------------------
 */

/* GGUF marks the tokens that begin a word, tokenizer.json those that continue one. */
static evn_status mark_words(vocabulary *v)
{
	for (uint32_t id = 0; id < v->n; id++) {
		const char *text = v->texts[id].text;
		if (v->kinds[id] != EVN_TOKEN_NORMAL)
			continue;
		if (!strncmp(text, "##", 2))
			text += 2;
		else
			EVN_TRY(keep_text(v, evn_format(MARK "%s", text), &text));
		v->texts[id] = (evn_str){text, strlen(text)};
	}
	return EVN_OK;
}

/* Other normalizers and pre-tokenizers than BERT's are not computed. */
static evn_status check_wordpiece(const vocabulary *v)
{
	const json_t *n = find_step(json_object_get(v->root, "normalizer"), "normalizers", "BertNormalizer");
	const json_t *p = find_step(json_object_get(v->root, "pre_tokenizer"), "pretokenizers", "BertPreTokenizer");
	const json_t *prefix = json_object_get(v->model, "continuing_subword_prefix");
	const json_t *longest = json_object_get(v->model, "max_input_chars_per_word");
	const bool usual = n && p && !json_is_false(json_object_get(n, "clean_text")) &&
					   !json_is_false(json_object_get(n, "handle_chinese_chars")) &&
					   (!prefix || !strcmp(json_string_value(prefix) ? json_string_value(prefix) : "", "##")) &&
					   (!longest || json_integer_value(longest) == EVN_WORDPIECE_MAX_CHARS);
	if (usual)
		return EVN_OK;
	return evn_fail(
		v->c->err, EVN_ERR_UNSUPPORTED,
		"%s/tokenizer.json: WordPiece other than BERT's, with its normalizer, its pre-tokenizer and words "
		"of at most %u characters",
		v->c->folder, EVN_WORDPIECE_MAX_CHARS);
}

static evn_status put_wordpiece(vocabulary *v)
{
	static const char *const names[][4] = {
		{"cls_token", "cls_token_id", "[CLS]", "tokenizer.ggml.cls_token_id"},
		{"sep_token", "sep_token_id", "[SEP]", "tokenizer.ggml.seperator_token_id"}, /* GGUF's spelling */
		{"unk_token", "unk_token_id", "[UNK]", "tokenizer.ggml.unknown_token_id"},
	};
	const json_t *n = find_step(json_object_get(v->root, "normalizer"), "normalizers", "BertNormalizer");
	const json_t *accents = json_object_get(n, "strip_accents");
	const bool lower = !json_is_false(json_object_get(n, "lowercase"));
	EVN_TRY(check_wordpiece(v));
	for (size_t i = 0; i < 3; i++) {
		json_int_t id = special_id(v, names[i][0], names[i][1]);
		for (uint32_t t = 0; id < 0 && t < v->n; t++)
			if (evn_str_is(v->texts[t], names[i][2]))
				id = t;
		if (id < 0)
			return evn_fail(v->c->err, EVN_ERR_FORMAT, "%s/tokenizer.json: no token %s", v->c->folder, names[i][2]);
		v->kinds[id] = EVN_TOKEN_CONTROL;
		evn_gguf_put_u32(v->c->w, names[i][3], (uint32_t)id);
	}
	EVN_TRY(mark_words(v));
	put_tokens(v, "bert");
	evn_gguf_put_bool(v->c->w, "tokenizer.ggml.normalizer.lowercase", lower);
	evn_gguf_put_bool(v->c->w, "tokenizer.ggml.normalizer.strip_accents",
					  json_is_boolean(accents) ? json_is_true(accents) : lower);
	return EVN_OK;
}

static evn_status put_chat_template(const evn_checkpoint *c, const json_t *config)
{
	const json_t *t = json_object_get(config, "chat_template");
	size_t i, size;
	json_t *named;
	json_array_foreach((json_t *)(uintptr_t)t, i, named) if (has_text(named, "name", "default")) t =
		json_object_get(named, "template");
	char *path = evn_format("%s/chat_template.jinja", c->folder), *text = NULL;
	if (!path)
		return evn_fail_memory(c->err, c->folder, 0);
	const bool from_file = evn_read_file(&text, &size, path, CONFIG_BYTES, NULL) == EVN_OK;
	free(path);
	if (from_file || json_is_string(t))
		evn_gguf_put_string(c->w, "tokenizer.chat_template", from_file ? text : json_string_value(t));
	free(text);
	return EVN_OK;
}

/* ---- the files --------------------------------------------------------------------------------------------------
 */

static evn_status read_vocabulary(vocabulary *v)
{
	const json_t *vocab = json_object_get(v->model, "vocab"), *merges = json_object_get(v->model, "merges");
	const char *type = json_string_value(json_object_get(v->model, "type"));
	const bool bytes = find_step(json_object_get(v->root, "pre_tokenizer"), "pretokenizers", "ByteLevel") != NULL;
	const bool words = type && !strcmp(type, "WordPiece");
	if (type && !strcmp(type, "Unigram")) {
		EVN_TRY(put_unigram(v));
		put_special(v);
		return EVN_OK;
	}
	if (!words && ((type && strcmp(type, "BPE") != 0) || !json_is_array(merges)))
		return evn_fail(v->c->err, EVN_ERR_UNSUPPORTED,
						"%s/tokenizer.json: the model is %.40s, evener reads BPE, Unigram and WordPiece",
						v->c->folder, type ? type : "without merges");
	if (!json_object_size(vocab))
		return wrong(v, "there is no vocabulary");
	EVN_TRY(read_tokens(v, vocab));
	if (words)
		return put_wordpiece(v);
	if (!bytes && !json_is_true(json_object_get(v->model, "byte_fallback")))
		return evn_fail(
			v->c->err, EVN_ERR_UNSUPPORTED,
			"%s/tokenizer.json: BPE neither of bytes nor with byte fallback, which evener does not compute",
			v->c->folder);
	EVN_TRY(bytes ? put_byte_level(v, merges) : put_sentencepiece(v, vocab, merges));
	put_special(v);
	return EVN_OK;
}

evn_status evn_checkpoint_tokenizer(evn_checkpoint *c)
{
	json_t *root = NULL, *config = NULL;
	evn_status s = evn_json_open(&root, c->folder, "tokenizer.json", TOKENIZER_BYTES, c->err);
	if (s == EVN_OK)
		s = evn_json_open(&config, c->folder, "tokenizer_config.json", CONFIG_BYTES, c->err);
	vocabulary v = {.c = c, .root = root, .model = json_object_get(root, "model"), .config = config};
	if (s == EVN_OK && root)
		s = read_vocabulary(&v);
	if (s == EVN_OK)
		s = put_chat_template(c, config);
	for (uint32_t i = 0; i < v.n_made; i++)
		free(v.made[i]);
	free(v.made);
	free(v.texts);
	free(v.kinds);
	free(v.scores);
	json_decref(v.ids);
	json_decref(root);
	json_decref(config);
	return s;
}
