/* vocab.h - the vocabulary of a GGUF file: the texts of the tokens (in the file's memory), their types, the special
 * ids, and a hash table from text to id. */
#ifndef EVN_VOCAB_H
#define EVN_VOCAB_H

#include "base/table.h"
#include "model/gguf.h"

#define EVN_TOKEN_MAX_BYTES 4096u /* of one token's text; the longest in use have 1024 bytes */

/* The values of tokenizer.ggml.token_type. */
typedef enum {
	EVN_TOKEN_NORMAL = 1,
	EVN_TOKEN_UNKNOWN,
	EVN_TOKEN_CONTROL,
	EVN_TOKEN_USER_DEFINED,
	EVN_TOKEN_UNUSED,
	EVN_TOKEN_BYTE, /* its text is <0xHH> */
} evn_token_type;

typedef struct {
	const char *file; /* for messages */
	const evn_str *texts;
	uint32_t n;
	uint32_t max_bytes; /* the length of the longest text */
	uint8_t *types;
	bool *ends;    /* the token ends a generation */
	evn_table ids; /* by text */
} evn_vocab;

/* g must outlive *v. */
evn_status evn_vocab_load(evn_vocab *v, const evn_gguf *g, evn_error *err);
void evn_vocab_clear(evn_vocab *v);
/* The lowest id with this text, or -1. */
int32_t evn_vocab_find(const evn_vocab *v, const char *text, size_t length);
/* Reads the id that `key` holds. If the key is absent, *id keeps its value. */
evn_status evn_vocab_special(const evn_vocab *v, const evn_gguf *g, const char *key, int32_t *id, evn_error *err);
/* The value of an EVN_TOKEN_BYTE text; -1 if it is malformed. */
int evn_token_byte(evn_str text);

/* A growing list of ids. Zero-initialise; free data. */
typedef struct {
	int32_t *data;
	size_t n, capacity;
	size_t n_lost; /* bytes of the text without a token, which were dropped */
} evn_ids;
evn_status evn_ids_push(evn_ids *list, int32_t id, evn_error *err);

#endif
