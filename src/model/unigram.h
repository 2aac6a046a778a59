/* unigram.h - SentencePiece's Unigram (Kudo 2018), as T5 has it: of all ways to spell a text by tokens, the one with
 * the largest sum of scores. The text is normalised before, by a table of the file (Unicode's NFKC and more). */
#ifndef EVN_UNIGRAM_H
#define EVN_UNIGRAM_H

#include "model/vocab.h"

typedef struct evn_unigram evn_unigram;

/* v and g must outlive *out. */
evn_status evn_unigram_create(evn_unigram **out, const evn_vocab *v, const evn_gguf *g, evn_error *err);
void evn_unigram_free(evn_unigram *u);
/* space_before: a space is added before a text that is not empty. */
evn_status evn_unigram_encode(const evn_unigram *u, const char *text, size_t n, bool space_before, evn_ids *out,
							  evn_error *err);

#endif
