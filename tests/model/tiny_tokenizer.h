/* tiny_tokenizer.h - tokenizers of tiny vocabularies, and texts with the ids that they should give. */
#ifndef TINY_TOKENIZER_H
#define TINY_TOKENIZER_H

#include "model/tiny_vocab.h"
#include "model/tokenizer.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define NORMAL 1
#define UNKNOWN 2
#define CONTROL 3
#define USER 4
#define BYTE 6
#define MARK "\xe2\x96\x81"

typedef struct {
	gguf_writer file;
	evn_gguf *gguf;
	evn_tokenizer *tokenizer;
} fixture;

static inline evn_status open_file(fixture *f, gguf_writer file, evn_error *err)
{
	*f = (fixture){.file = file};
	evn_status status = evn_gguf_parse(&f->gguf, "tiny.gguf", f->file.data, f->file.size, err);
	return status == EVN_OK ? evn_tokenizer_create(&f->tokenizer, f->gguf, err) : status;
}

static inline void close_file(fixture *f)
{
	evn_tokenizer_free(f->tokenizer);
	evn_gguf_free(f->gguf);
	gguf_writer_free(&f->file);
}

static inline fixture open_tiny(const tiny_vocab *v)
{
	fixture f;
	evn_error err = {0};
	if (open_file(&f, tiny_file(v), &err) != EVN_OK)
		fail_msg("%s", err.text);
	return f;
}

enum { ADD = 1, PARSE = 2 };

static inline void encodes(const fixture *f, const char *text, int how, const char *expected)
{
	int32_t *ids;
	size_t n;
	char got[256] = "";
	evn_error err = {0};
	if (evn_tokenizer_encode(f->tokenizer, text, strlen(text), how & ADD, how & PARSE, &ids, &n, NULL, &err) !=
		EVN_OK)
		fail_msg("%s", err.text);
	for (size_t i = 0; i < n; i++)
		snprintf(got + strlen(got), sizeof got - strlen(got), i ? " %d" : "%d", ids[i]);
	assert_string_equal(got, expected);
	free(ids);
}

#endif
