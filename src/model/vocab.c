/* vocab.c - reads and checks tokenizer.ggml.tokens and token_type, and finds the tokens that end a generation. Some
 * files mark these by id, others only by text. Both are used, as in llama.cpp. */
#include "model/vocab.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MAX_TOKENS (1u << 24)

int32_t evn_vocab_find(const evn_vocab *v, const char *text, size_t length)
{
	uint32_t id = evn_table_find(&v->ids, text, length);
	return id == EVN_NOT_FOUND ? -1 : (int32_t)id;
}

static evn_key text_of(const void *texts, uint32_t id)
{
	const evn_str *s = (const evn_str *)texts + id;
	return (evn_key){s->text, (size_t)s->length};
}

/* Empty tokens are left out: they match nothing. Of equal texts the first counts. */
static evn_status build_table(evn_vocab *v, evn_error *err)
{
	EVN_TRY(evn_table_create(&v->ids, v->n, text_of, v->texts, "vocabulary", err));
	for (uint32_t id = 0; id < v->n; id++)
		if (v->texts[id].length)
			evn_table_add(&v->ids, id);
	return EVN_OK;
}

int evn_token_byte(evn_str text)
{
	if (text.length != 6 || memcmp(text.text, "<0x", 3) != 0 || text.text[5] != '>')
		return -1;
	int value = 0;
	for (int i = 3; i < 5; i++) {
		char c = text.text[i];
		int digit = c >= '0' && c <= '9'   ? c - '0'
					: c >= 'A' && c <= 'F' ? c - 'A' + 10
					: c >= 'a' && c <= 'f' ? c - 'a' + 10
										   : -1;
		if (digit < 0)
			return -1;
		value = value * 16 + digit;
	}
	return value;
}

static evn_status load_texts(evn_vocab *v, const evn_gguf *g, evn_error *err)
{
	const evn_gguf_value *tokens;
	EVN_TRY(evn_gguf_array(g, "tokenizer.ggml.tokens", EVN_GGUF_STRING, &tokens, err));
	if (!tokens || tokens->count == 0)
		return evn_fail(err, EVN_ERR_FORMAT, "%s: no vocabulary (tokenizer.ggml.tokens)", v->file);
	if (tokens->count > MAX_TOKENS)
		return evn_fail(err, EVN_ERR_LIMIT, "%s: tokenizer.ggml.tokens has %" PRIu64 " tokens, more than %u", v->file,
						tokens->count, MAX_TOKENS);
	v->texts = tokens->strings;
	v->n = (uint32_t)tokens->count;
	for (uint32_t id = 0; id < v->n; id++) {
		if (v->texts[id].length > EVN_TOKEN_MAX_BYTES)
			return evn_fail(err, EVN_ERR_LIMIT,
							"%s: token %u of tokenizer.ggml.tokens has %" PRIu64 " bytes, more than %u", v->file, id,
							v->texts[id].length, EVN_TOKEN_MAX_BYTES);
		if (v->max_bytes < v->texts[id].length)
			v->max_bytes = (uint32_t)v->texts[id].length;
	}
	return EVN_OK;
}

static evn_status load_types(evn_vocab *v, const evn_gguf *g, evn_error *err)
{
	v->types = malloc(v->n);
	v->ends = calloc(v->n, sizeof *v->ends);
	if (!v->types || !v->ends)
		return evn_fail_memory(err, "vocabulary", 2 * (uint64_t)v->n);
	memset(v->types, EVN_TOKEN_NORMAL, v->n);

	const evn_gguf_value *types;
	EVN_TRY(evn_gguf_array(g, "tokenizer.ggml.token_type", EVN_GGUF_I32, &types, err));
	if (!types)
		return EVN_OK;
	if (types->count != v->n)
		return evn_fail(err, EVN_ERR_FORMAT, "%s: tokenizer.ggml.token_type has %" PRIu64 " entries for %u tokens",
						v->file, types->count, v->n);
	for (uint32_t id = 0; id < v->n; id++) {
		uint64_t type = evn_load_le(types->data + 4 * (size_t)id, 4);
		if (type >= EVN_TOKEN_NORMAL && type <= EVN_TOKEN_BYTE)
			v->types[id] = (uint8_t)type;
		if (type == EVN_TOKEN_BYTE && evn_token_byte(v->texts[id]) < 0)
			return evn_fail(err, EVN_ERR_FORMAT, "%s: token %u \"%.*s\" is of type byte, expected a text like <0x0A>",
							v->file, id, (int)(v->texts[id].length < 40 ? v->texts[id].length : 40),
							v->texts[id].text);
	}
	return EVN_OK;
}

evn_status evn_vocab_special(const evn_vocab *v, const evn_gguf *g, const char *key, int32_t *id, evn_error *err)
{
	if (!evn_gguf_find(g, key))
		return EVN_OK;
	uint32_t value = 0;
	EVN_TRY(evn_gguf_u32(g, key, &value, err));
	if (value >= v->n)
		return evn_fail(err, EVN_ERR_FORMAT, "%s: \"%s\" is %u, the vocabulary has %u tokens", v->file, key, value,
						v->n);
	*id = (int32_t)value;
	return EVN_OK;
}

/* Texts that end a generation, whatever type the file gives them. */
static const char *const end_texts[] = {"<|eot_id|>",
										"<|im_end|>",
										"<|end|>",
										"<|return|>",
										"<|call|>",
										"<|flush|>",
										"<|calls|>",
										"<end_of_turn>",
										"<turn|>",
										"<|endoftext|>",
										"</s>",
										"<|eom_id|>",
										"<EOT>",
										"_<EOT>",
										"[EOT]",
										"[EOS]",
										"<|end_of_text|>",
										"<end_of_utterance>",
										"<eos>",
										"<turn|>",
										"<|tool_response>",
										"<｜end▁of▁sentence｜>",
										"[e~["};

/* Tokens for filling in the middle of a text. The file names them by id; else the first of the texts that is in the
 * vocabulary is it. */
static const struct {
	const char *key;
	bool ends; /* generation */
	const char *texts[9];
} fill_tokens[] = {
	{"tokenizer.ggml.fim_pad_token_id", true, {"<|fim_pad|>", "<fim-pad>", "<fim_pad>", "[PAD]", "<PAD>"}},
	{"tokenizer.ggml.fim_rep_token_id",
	 true,
	 {"<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"}},
	{"tokenizer.ggml.fim_sep_token_id", true, {"<|file_sep|>"}},
	{"tokenizer.ggml.fim_pre_token_id",
	 false,
	 {"<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<｜fim▁begin｜>", "<PRE>", "▁<PRE>", "<|code_prefix|>",
	  "<|prefix|>"}},
	{"tokenizer.ggml.fim_suf_token_id",
	 false,
	 {"<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", "<｜fim▁hole｜>", "<SUF>", "▁<SUF>", "<|code_suffix|>",
	  "<|suffix|>"}},
	{"tokenizer.ggml.fim_mid_token_id",
	 false,
	 {"<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<｜fim▁end｜>", "<MID>", "▁<MID>", "<|code_middle|>",
	  "<|middle|>"}},
};

static int32_t find_text(const evn_vocab *v, const char *text) { return evn_vocab_find(v, text, strlen(text)); }

/* "<PAD>" is a word of ordinary texts too: it counts only if the file says that it is a control token. */
static int32_t find_fill_token(const evn_vocab *v, const char *const *texts)
{
	for (; *texts; texts++) {
		int32_t id = find_text(v, *texts);
		if (id >= 0 && (strcmp(*texts, "<PAD>") != 0 || v->types[id] == EVN_TOKEN_CONTROL))
			return id;
	}
	return -1;
}

static evn_status find_fill_tokens(evn_vocab *v, const evn_gguf *g, evn_error *err)
{
	for (size_t i = 0; i < sizeof fill_tokens / sizeof *fill_tokens; i++) {
		int32_t id = -1;
		EVN_TRY(evn_vocab_special(v, g, fill_tokens[i].key, &id, err));
		if (id < 0) {
			id = find_fill_token(v, fill_tokens[i].texts);
			if (id >= 0)
				v->types[id] = EVN_TOKEN_CONTROL;
		}
		if (id >= 0 && fill_tokens[i].ends)
			v->ends[id] = true;
	}
	return EVN_OK;
}

static void find_end_texts(evn_vocab *v)
{
	for (size_t i = 0; i < sizeof end_texts / sizeof *end_texts; i++) {
		int32_t id = find_text(v, end_texts[i]);
		if (id < 0)
			continue;
		v->types[id] = EVN_TOKEN_CONTROL;
		v->ends[id] = true;
	}
}

/* Where other tokens end a message, "<|end|>" ends only a part of it, and "</s>" is a word of ordinary texts. */
static void leave_out_end_texts(evn_vocab *v)
{
	int32_t end = find_text(v, "<|end|>"), s = find_text(v, "</s>");
	bool returns = find_text(v, "<|return|>") >= 0, flushes = find_text(v, "<|flush|>") >= 0;
	bool calls = find_text(v, "<|calls|>") >= 0 || find_text(v, "<|call|>") >= 0;
	if (end >= 0 && calls && (returns || flushes)) {
		v->types[end] = EVN_TOKEN_USER_DEFINED;
		v->ends[end] = false;
	}
	if (s >= 0 && find_text(v, "<|tool_response>") >= 0) {
		v->types[s] = EVN_TOKEN_NORMAL;
		v->ends[s] = false;
	}
}

/* The tokens that the file names by id end a generation in any case. */
static evn_status find_end_tokens(evn_vocab *v, const evn_gguf *g, evn_error *err)
{
	static const char *const keys[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
									   "tokenizer.ggml.eom_token_id"};
	find_end_texts(v);
	leave_out_end_texts(v);
	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
		int32_t id = -1;
		EVN_TRY(evn_vocab_special(v, g, keys[i], &id, err));
		if (id >= 0)
			v->ends[id] = true;
	}
	return find_fill_tokens(v, g, err);
}

evn_status evn_vocab_load(evn_vocab *v, const evn_gguf *g, evn_error *err)
{
	v->file = evn_gguf_name(g);
	EVN_TRY(load_texts(v, g, err));
	EVN_TRY(load_types(v, g, err));
	EVN_TRY(build_table(v, err));
	return find_end_tokens(v, g, err);
}

void evn_vocab_clear(evn_vocab *v)
{
	free(v->types);
	free(v->ends);
	evn_table_clear(&v->ids);
	*v = (evn_vocab){0};
}

evn_status evn_ids_push(evn_ids *list, int32_t id, evn_error *err)
{
	if (list->n == list->capacity) {
		size_t capacity = list->capacity ? 2 * list->capacity : 64;
		int32_t *data = realloc(list->data, capacity * sizeof *data);
		if (!data)
			return evn_fail_memory(err, "token ids", capacity * sizeof *data);
		list->data = data;
		list->capacity = capacity;
	}
	list->data[list->n++] = id;
	return EVN_OK;
}
