/* grammar.h - vocabularies of any words, for evener/grammar.h. */
#ifndef EVN_GRAMMAR_H
#define EVN_GRAMMAR_H

#include "evener/grammar.h"
#include "grammar/words.h"

#define EVN_GRAMMAR_MAX_BYTES ((size_t)4 * 1024 * 1024) /* of a text */
#define EVN_GRAMMARS_KEPT 32u                           /* compiled grammars that a vocabulary keeps */

/* words (n) are used until it returns. */
evn_status evn_vocabulary_of_words(evn_vocabulary **out, const evn_word *words, uint32_t n, evn_error *err);

#endif
