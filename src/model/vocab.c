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

/* Texts that are control tokens, whatever type the file gives them. Those before the empty entry end a generation. */
static const char *const control_texts[] = {"<|eot_id|>",
											"<|im_end|>",
											"<|end|>",
											"<|return|>",
											"<|call|>",
											"<end_of_turn>",
											"<|endoftext|>",
											"</s>",
											"<|eom_id|>",
											"<EOT>",
											"_<EOT>",
											"[EOT]",
											"[EOS]",
											"<|end_of_text|>",
											"<end_of_utterance>",
											"<｜end▁of▁sentence｜>",
											"<|fim_pad|>",
											"<fim-pad>",
											"<fim_pad>",
											"<PAD>",
											"[PAD]",
											"<|fim_repo|>",
											"<|repo_name|>",
											"<fim-repo>",
											"<REPO>",
											"<reponame>",
											"<|file_sep|>",
											"",
											"<|fim_prefix|>",
											"<fim-prefix>",
											"<fim_prefix>",
											"<｜fim▁begin｜>",
											"<PRE>",
											"▁<PRE>",
											"<|fim_suffix|>",
											"<fim-suffix>",
											"<fim_suffix>",
											"<｜fim▁hole｜>",
											"<SUF>",
											"▁<SUF>",
											"<|fim_middle|>",
											"<fim-middle>",
											"<fim_middle>",
											"<｜fim▁end｜>",
											"<MID>",
											"▁<MID>"};

static evn_status find_control_tokens(evn_vocab *v, const evn_gguf *g, evn_error *err)
{
	static const char *const keys[] = {"tokenizer.ggml.eos_token_id",     "tokenizer.ggml.eot_token_id",
									   "tokenizer.ggml.eom_token_id",     "tokenizer.ggml.fim_pad_token_id",
									   "tokenizer.ggml.fim_rep_token_id", "tokenizer.ggml.fim_sep_token_id"};
	bool ends = true;
	for (size_t i = 0; i < sizeof control_texts / sizeof *control_texts; i++) {
		int32_t id = evn_vocab_find(v, control_texts[i], strlen(control_texts[i]));
		if (control_texts[i][0] == '\0')
			ends = false;
		if (id < 0)
			continue;
		v->types[id] = EVN_TOKEN_CONTROL;
		v->ends[id] = ends;
	}
	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
		int32_t id = -1;
		EVN_TRY(evn_vocab_special(v, g, keys[i], &id, err));
		if (id >= 0)
			v->ends[id] = true;
	}
	return EVN_OK;
}

evn_status evn_vocab_load(evn_vocab *v, const evn_gguf *g, evn_error *err)
{
	v->file = evn_gguf_name(g);
	EVN_TRY(load_texts(v, g, err));
	EVN_TRY(load_types(v, g, err));
	EVN_TRY(build_table(v, err));
	return find_control_tokens(v, g, err);
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
