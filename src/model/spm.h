/* spm.h - SentencePiece's BPE: the spaces of a text are the mark U+2581, adjacent pieces merge where the
 * joined text is a token, the best score first; what is no token in the end becomes byte tokens. */
#ifndef EVN_SPM_H
#define EVN_SPM_H

#include "model/vocab.h"

typedef struct evn_spm evn_spm;

/* v must outlive *out. */
evn_status evn_spm_create(evn_spm **out, const evn_vocab *v, const evn_gguf *g, evn_error *err);
void evn_spm_free(evn_spm *s);
/* space_before: as if a space stood before the text. */
evn_status evn_spm_encode(const evn_spm *s, const char *text, size_t n, bool space_before, evn_ids *out,
						  evn_error *err);
/* A token's text with marks as spaces; out has room for text.length. */
size_t evn_spm_spell(evn_str text, char *out);

#endif
