/* special.h - splits a text at the texts of special tokens: "<|im_start|>" becomes its id, the rest is left for BPE
 * or SPM. */
#ifndef EVN_SPECIAL_H
#define EVN_SPECIAL_H

#include "model/vocab.h"

typedef struct {
	int32_t *ids; /* the longest text first; of equals the lower id first */
	uint32_t n;
	bool *strips_after; /* by place in ids: white space after the token is dropped */
} evn_special;

evn_status evn_special_load(evn_special *s, const evn_vocab *v, const evn_gguf *g, evn_error *err);
void evn_special_clear(evn_special *s);

typedef struct {
	uint32_t begin, end;
	int32_t id; /* -1: this fragment is text */
} evn_fragment;

typedef struct {
	evn_fragment *data;
	size_t n, capacity;
} evn_fragments;

typedef struct {
	const char *text;
	size_t n;               /* <= UINT32_MAX */
	bool parse_special;     /* all special tokens count, otherwise only user-defined ones */
	const uint8_t *foreign; /* (n) or NULL: other than user-defined tokens count only where all bytes are 0 */
} evn_special_text;

/* Returns the fragments in the order of the text; free out->data. A longer token wins over a shorter one that it
 * overlaps, wherever they begin. */
evn_status evn_special_split(const evn_special *s, const evn_vocab *v, const evn_special_text *t, evn_fragments *out,
							 evn_error *err);

#endif
