/* tokenizer.h - text to token ids and back, as GGUF's tokenizer.ggml.* keys define it: byte-level BPE ("gpt2") with
 * one pre-tokenizer pattern per family, and SentencePiece BPE ("llama") with byte fallback. */
#ifndef EVN_TOKENIZER_H
#define EVN_TOKENIZER_H

#include "model/gguf.h"

typedef struct evn_tokenizer evn_tokenizer;

/* g must outlive *out. */
evn_status evn_tokenizer_create(evn_tokenizer **out, const evn_gguf *g, evn_error *err);
void evn_tokenizer_free(evn_tokenizer *t);

uint32_t evn_tokenizer_vocab(const evn_tokenizer *t);
bool evn_tokenizer_ends_generation(const evn_tokenizer *t, int32_t id);

evn_status evn_tokenizer_encode(const evn_tokenizer *t, const char *text, size_t text_bytes, bool add_special,
                                bool parse_special, int32_t **ids, size_t *n_ids, evn_error *err);
/* Bytes of one token, not NUL-terminated, at most *n. SPM: the leading-space mark becomes a space; what the
 * detokenizer must strip at the start of a text is evn_tokenizer_decode's business. */
evn_status evn_tokenizer_decode(const evn_tokenizer *t, const int32_t *ids, size_t n_ids, bool unparse_special,
                                char **text, size_t *text_bytes, evn_error *err);

#endif
