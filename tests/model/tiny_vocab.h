/* tiny_vocab.h - vocabularies of a few tokens, as GGUF files in memory. */
#ifndef TINY_VOCAB_H
#define TINY_VOCAB_H

#include "model/gguf_writer.h"

#include <stdio.h>

typedef struct {
	const char *text;
	int32_t type;
	float score;
} tiny_token;

typedef struct {
	const char *model, *pre;   /* NULL: no such key */
	const tiny_token *tokens;  /* an entry without text ends the list */
	bool all_bytes;            /* 256 byte tokens come first: <0x00>... (SPM), or their spelling (BPE) */
	const char *const *merges; /* NULL: no such key */
	const char *keys[8];       /* "name=u32" or "name=true", "name=false" */
} tiny_vocab;

static inline void put_byte_token(gguf_writer *w, unsigned byte, bool spm)
{
	char text[8];
	if (spm) {
		snprintf(text, sizeof text, "<0x%02X>", byte);
	} else {
		unsigned code = byte <= 0x20 ? 0x100 + byte : byte >= 0x7f && byte <= 0xa0 ? 0x121 + byte - 0x7f : byte;
		if (byte == 0xad)
			code = 0x143;
		if (code < 0x80)
			snprintf(text, sizeof text, "%c", (int)code);
		else
			snprintf(text, sizeof text, "%c%c", (int)(0xc0 | code >> 6), (int)(0x80 | (code & 0x3f)));
	}
	put_text(w, text);
}

static inline void put_tiny_key(gguf_writer *w, const char *key)
{
	char name[80];
	const char *equals = strchr(key, '=');
	snprintf(name, sizeof name, "%.*s", (int)(equals - key), key);
	if (equals[1] == 't' || equals[1] == 'f') {
		put_key(w, name, EVN_GGUF_BOOL);
		put_le(w, equals[1] == 't', 1);
	} else {
		put_u32(w, name, (uint32_t)strtoul(equals + 1, NULL, 10));
	}
}

/* The number of keys of the whole file, header included. */
static inline gguf_writer tiny_file(const tiny_vocab *v)
{
	gguf_writer w = {0};
	bool spm = v->model && (!strcmp(v->model, "llama") || !strcmp(v->model, "gemma4"));
	uint64_t n_tokens = 0, n_merges = 0, n_keys = 0, n_bytes = v->all_bytes ? 256 : 0;
	while (v->tokens[n_tokens].text)
		n_tokens++;
	while (v->merges && v->merges[n_merges])
		n_merges++;
	while (n_keys < 8 && v->keys[n_keys])
		n_keys++;
	put_header(&w, 3, 0, 3 + n_keys + !!v->model + !!v->pre + !!v->merges);
	if (v->model)
		put_string(&w, "tokenizer.ggml.model", v->model);
	if (v->pre)
		put_string(&w, "tokenizer.ggml.pre", v->pre);
	put_array(&w, "tokenizer.ggml.tokens", EVN_GGUF_STRING, n_bytes + n_tokens);
	for (unsigned byte = 0; byte < n_bytes; byte++)
		put_byte_token(&w, byte, spm);
	for (uint64_t i = 0; i < n_tokens; i++)
		put_text(&w, v->tokens[i].text);
	put_array(&w, "tokenizer.ggml.token_type", EVN_GGUF_I32, n_bytes + n_tokens);
	for (unsigned byte = 0; byte < n_bytes; byte++)
		put_le(&w, spm ? 6 : 1, 4);
	for (uint64_t i = 0; i < n_tokens; i++)
		put_le(&w, (uint32_t)v->tokens[i].type, 4);
	put_array(&w, "tokenizer.ggml.scores", EVN_GGUF_F32, n_bytes + n_tokens);
	for (uint64_t i = 0; i < n_bytes + n_tokens; i++) {
		float score = i < n_bytes ? 0 : v->tokens[i - n_bytes].score;
		put_bytes(&w, &score, sizeof score);
	}
	if (v->merges)
		put_array(&w, "tokenizer.ggml.merges", EVN_GGUF_STRING, n_merges);
	for (uint64_t i = 0; i < n_merges; i++)
		put_text(&w, v->merges[i]);
	for (uint64_t i = 0; i < n_keys; i++)
		put_tiny_key(&w, v->keys[i]);
	return w;
}

#endif
