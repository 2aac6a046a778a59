/* wordpiece.h - BERT's WordPiece. The text is cleaned, and in uncased models made lower case without accents. It is
 * cut into words at white space and at punctuation, which is a word. Each word becomes the longest token that it
 * begins with, then the longest that the rest begins with, and so on. A word that cannot be spelled is the unknown
 * token.
 *
 * As in GGUF files, a token that begins a word has the mark U+2581 in front, and one that continues a word has
 * nothing.
 */
#ifndef EVN_WORDPIECE_H
#define EVN_WORDPIECE_H

#include "model/vocab.h"

typedef struct evn_wordpiece evn_wordpiece;

#define EVN_WORDPIECE_MAX_CHARS 100u /* a longer word is the unknown token */

/* v must outlive *out. */
evn_status evn_wordpiece_create(evn_wordpiece **out, const evn_vocab *v, const evn_gguf *g, evn_error *err);
void evn_wordpiece_free(evn_wordpiece *w);
evn_status evn_wordpiece_encode(const evn_wordpiece *w, const char *text, size_t n, evn_ids *out, evn_error *err);

#endif
