/* pretokenizer.h - splits a text into words by the regular expressions of a tokenizer family (tokenizer.ggml.pre).
 * BPE merges only within a word. */
#ifndef EVN_PRETOKENIZER_H
#define EVN_PRETOKENIZER_H

#include "model/gguf.h"

typedef struct evn_pretokenizer evn_pretokenizer;

/* name: the value of tokenizer.ggml.pre, of no bytes if the file has none. file: for messages. */
evn_status evn_pretokenizer_create(evn_pretokenizer **out, evn_str name, const char *file, evn_error *err);
void evn_pretokenizer_free(evn_pretokenizer *p);
bool evn_pretokenizer_ignores_merges(const evn_pretokenizer *p); /* a word that is a token is taken as a whole */
bool evn_pretokenizer_adds_bos(const evn_pretokenizer *p);       /* the default if the file does not say */

/* Where each word ends. Zero-initialise. It can be reused for the next text. */
typedef struct {
	uint32_t *ends;
	size_t n, capacity;
} evn_words;
void evn_words_clear(evn_words *w);

/* The words cover the text without gaps. A byte that is no UTF-8 is a word of its own. n <= UINT32_MAX. */
evn_status evn_pretokenizer_split(const evn_pretokenizer *p, const char *text, size_t n, evn_words *out,
								  evn_error *err);

#endif
