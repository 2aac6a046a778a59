/* charsmap.h - SentencePiece's table that normalises text (precompiled_charsmap): a trie of byte strings
 * (darts-clone) and what takes the place of each. */
#ifndef EVN_CHARSMAP_H
#define EVN_CHARSMAP_H

#include "model/gguf.h"

typedef struct {
	const uint8_t *units; /* (n_units) little-endian words of the trie; in the file's memory */
	uint32_t n_units;
	const char *texts; /* (n_texts bytes), each ends with a zero */
	size_t n_texts;
} evn_charsmap;

/* A map without units if the file has none. */
evn_status evn_charsmap_load(evn_charsmap *m, const evn_gguf *g, evn_error *err);
/* What takes the place of the beginning of a text of n > 0 bytes; *taken: the bytes of it. A character that the table
 * has not stays, and a byte of no character becomes U+FFFD. */
evn_str evn_charsmap_replace(const evn_charsmap *m, const char *text, size_t n, size_t *taken);

#endif
