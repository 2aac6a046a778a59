/* evener/grammar.h - texts of a given form: JSON of a schema, a grammar in llama.cpp's GBNF, a regular expression. A
 * grammar tells which tokens of a vocabulary may come next.
 *
 * Thread-safe, but for a matcher, which belongs to one thread at a time. A vocabulary outlives its grammars, a
 * grammar its matchers and the requests that use it. */
#ifndef EVENER_GRAMMAR_H
#define EVENER_GRAMMAR_H

#include "../evener.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
	EVN_GRAMMAR_JSON,        /* any JSON object; the text does not count */
	EVN_GRAMMAR_JSON_SCHEMA, /* docs/serve.md says what is supported */
	EVN_GRAMMAR_GBNF,
	EVN_GRAMMAR_REGEX, /* of the whole text */
	/* Calls of tools. The text is {"tools": [{"name", "parameters", "strict"}, ...], "free": bool, "parallel": bool,
	 * "form": "hermes" (the default), "llama", "mistral", "mistral-args" or "harmony", see evn_tool_style; llama and
	 * harmony have one call at a time}. parameters: a
	 * schema. One that evener cannot guarantee stands for any object, unless strict. free: text may come before
	 * calls, or no call at all; parallel: one call or more. */
	EVN_GRAMMAR_TOOLS,
} evn_grammar_kind;

/* The tokens of a model in a form that grammars walk over, and the grammars that were compiled last. */
typedef struct evn_vocabulary evn_vocabulary;
EVN_API evn_status evn_vocabulary_create(evn_vocabulary **out, const evn_model *m, evn_error *err);
EVN_API void evn_vocabulary_free(evn_vocabulary *v);

typedef struct evn_grammar evn_grammar;
/* The same text again gives the same grammar, with the masks that it has. EVN_ERR_USAGE: the text is wrong.
 * EVN_ERR_UNSUPPORTED: evener cannot guarantee what a schema says. EVN_ERR_LIMIT: it is too large. */
EVN_API evn_status evn_grammar_create(evn_grammar **out, evn_vocabulary *v, evn_grammar_kind kind, const char *text,
									  size_t text_bytes, evn_error *err);
EVN_API void evn_grammar_free(evn_grammar *g);

typedef struct evn_matcher evn_matcher; /* a text of a grammar as it grows */
EVN_API evn_status evn_matcher_create(evn_matcher **out, evn_grammar *g, evn_error *err);
/* The tokens that may come next: bit id % 64 of word id / 64; those that end a text only where it may end. Valid
 * until the next call. EVN_ERR_USAGE: no token can come next. EVN_ERR_LIMIT: the grammar is too ambiguous. */
EVN_API evn_status evn_matcher_mask(evn_matcher *m, const uint64_t **mask, evn_error *err);
/* EVN_ERR_USAGE: the token may not come next. */
EVN_API evn_status evn_matcher_accept(evn_matcher *m, int32_t id, evn_error *err);
EVN_API bool evn_matcher_may_end(const evn_matcher *m);
EVN_API bool evn_matcher_is_complete(const evn_matcher *m); /* it may end, and nothing more may follow */
EVN_API void evn_matcher_free(evn_matcher *m);

#ifdef __cplusplus
}
#endif
#endif
