/* spm.h - SentencePiece's BPE. The spaces of a text are the mark U+2581. Adjacent pieces merge if the joined text is
 * a token, the best score first. A piece that is no token in the end becomes byte tokens. */
#ifndef EVN_SPM_H
#define EVN_SPM_H

#include "model/vocab.h"

typedef struct evn_spm evn_spm;

/* v must outlive *out. */
evn_status evn_spm_create(evn_spm **out, const evn_vocab *v, const evn_gguf *g, evn_error *err);
void evn_spm_free(evn_spm *s);
/* space_before: treat the text as if a space stood before it. */
evn_status evn_spm_encode(const evn_spm *s, const char *text, size_t n, bool space_before, evn_ids *out,
						  evn_error *err);
/* The text of a token with marks as spaces. out has room for text.length. */
size_t evn_spm_spell(evn_str text, char *out);

#endif
