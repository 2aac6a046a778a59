/* tokenizer.h - turns text into token ids and back, as GGUF's tokenizer.ggml.* keys define it: byte-level BPE
 * ("gpt2") with one pre-tokenizer pattern for each family, BPE of characters ("gemma4"), SentencePiece BPE ("llama")
 * with byte fallback, SentencePiece Unigram ("t5"), and WordPiece ("bert"). The ids are those of llama.cpp; those of
 * WordPiece are those of Hugging Face's tokenizers, from which llama.cpp differs in rare characters and in words of
 * more than 100 characters. */
#ifndef EVN_TOKENIZER_H
#define EVN_TOKENIZER_H

#include "model/gguf.h"

#define EVN_TEXT_MAX_BYTES (1u << 30) /* the most in one call */

typedef struct evn_tokenizer evn_tokenizer;

/* g must outlive *out. */
evn_status evn_tokenizer_create(evn_tokenizer **out, const evn_gguf *g, evn_error *err);
void evn_tokenizer_free(evn_tokenizer *t);

bool evn_tokenizer_ends_generation(const evn_tokenizer *t, int32_t id);

/* *ids is malloc'd. Any bytes are a valid text. *n_lost (may be NULL) counts the bytes without a token, which are
 * dropped. */
evn_status evn_tokenizer_encode(const evn_tokenizer *t, const char *text, size_t text_bytes, bool add_special,
								bool parse_special, int32_t **ids, size_t *n_ids, size_t *n_lost, evn_error *err);
/* A conversation. foreign[i] = 1: byte i comes from a user, where the text of a control token is only text. BOS is
 * added where the model asks for it and the text does not begin with it; EOS is not. */
evn_status evn_tokenizer_encode_chat(const evn_tokenizer *t, const char *text, const uint8_t *foreign, size_t n,
									 int32_t **ids, size_t *n_ids, evn_error *err);
/* *text is malloc'd and NUL-terminated. SPM: the space that encode adds before a text is removed. */
evn_status evn_tokenizer_decode(const evn_tokenizer *t, const int32_t *ids, size_t n_ids, bool unparse_special,
								char **text, size_t *text_bytes, evn_error *err);
/* The bytes of one token, with all spaces. An id outside the vocabulary has none. out has room for
 * evn_tokenizer_max_bytes. */
size_t evn_tokenizer_spell(const evn_tokenizer *t, int32_t id, bool unparse_special, char *out);
/* The text of a control token with which models mark calls and channels, such as "[TOOL_CALLS]"; 0 for other tokens.
 */
size_t evn_tokenizer_spell_mark(const evn_tokenizer *t, int32_t id, char *out);
size_t evn_tokenizer_max_bytes(const evn_tokenizer *t);
int32_t evn_tokenizer_find(const evn_tokenizer *t, const char *text); /* the lowest id with this text; -1: none */
int32_t evn_tokenizer_bos(const evn_tokenizer *t);                    /* -1: none */
int32_t evn_tokenizer_eos(const evn_tokenizer *t);

#endif
