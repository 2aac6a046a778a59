/* tokenizer.h - text to token ids and back, as GGUF's tokenizer.ggml.* keys define it: byte-level BPE ("gpt2") with
 * one pre-tokenizer pattern per family, and SentencePiece BPE ("llama") with byte fallback. Ids are llama.cpp's. */
#ifndef EVN_TOKENIZER_H
#define EVN_TOKENIZER_H

#include "model/gguf.h"

#define EVN_TEXT_MAX_BYTES (1u << 30) /* encoded in one call */

typedef struct evn_tokenizer evn_tokenizer;

/* g must outlive *out. */
evn_status evn_tokenizer_create(evn_tokenizer **out, const evn_gguf *g, evn_error *err);
void evn_tokenizer_free(evn_tokenizer *t);

bool evn_tokenizer_ends_generation(const evn_tokenizer *t, int32_t id);

/* *ids is malloc'd; any bytes are text. *n_lost (may be NULL): bytes that have no token and are left out. */
evn_status evn_tokenizer_encode(const evn_tokenizer *t, const char *text, size_t text_bytes, bool add_special,
								bool parse_special, int32_t **ids, size_t *n_ids, size_t *n_lost, evn_error *err);
/* *text is malloc'd and NUL-terminated. SPM: the space that encode puts before a text goes. */
evn_status evn_tokenizer_decode(const evn_tokenizer *t, const int32_t *ids, size_t n_ids, bool unparse_special,
								char **text, size_t *text_bytes, evn_error *err);
/* Bytes of one token, spaces and all; none of an id outside the vocabulary. out has room for
 * evn_tokenizer_max_bytes. */
size_t evn_tokenizer_spell(const evn_tokenizer *t, int32_t id, bool unparse_special, char *out);
size_t evn_tokenizer_max_bytes(const evn_tokenizer *t);

#endif
