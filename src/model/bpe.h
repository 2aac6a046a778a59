/* bpe.h - BPE: merges join tokens by rank, never across the words of the pre-tokenizer. Tokens spell bytes in 256
 * printable characters (byte-level BPE); those of Gemma 4 spell characters, with U+2581 for a space, and a character
 * without a token becomes tokens of bytes. */
#ifndef EVN_BPE_H
#define EVN_BPE_H

#include "model/vocab.h"

typedef struct evn_bpe evn_bpe;

/* v must outlive *out. */
evn_status evn_bpe_create(evn_bpe **out, const evn_vocab *v, const evn_gguf *g, evn_error *err);
void evn_bpe_free(evn_bpe *b);
bool evn_bpe_of_characters(const evn_bpe *b); /* its tokens spell characters */
bool evn_bpe_adds_bos(const evn_bpe *b);      /* the default if the file does not say */
evn_status evn_bpe_encode(const evn_bpe *b, const char *text, size_t n, evn_ids *out, evn_error *err);
/* Byte-level: writes the bytes that a token's text spells; out has room for text.length. Characters that spell no
 * byte stay as they are. */
size_t evn_bpe_spell(evn_str text, char *out);

#endif
