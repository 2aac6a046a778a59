/* cut.h - cuts a text into pieces for a model. Units (lines, paragraphs, sentences) are packed into pieces of at most
 * so many tokens. What lies between two pieces is kept: pieces and gaps in their order are the text, byte for byte.
 */
#ifndef EVN_CLI_CUT_H
#define EVN_CLI_CUT_H

#include "evener.h"

typedef enum { CUT_LINES, CUT_PARAGRAPHS, CUT_SENTENCES, CUT_WHOLE } cut_units;

/* A part of a text: the bytes from `begin` up to `end`. */
typedef struct {
	size_t begin, end;
} text_range;

typedef struct {
	evn_status (*count)(void *user, const char *text, size_t bytes, size_t *tokens, evn_error *err);
	void *user;
} token_counter;

typedef struct {
	text_range *pieces; /* in order, none empty, no white space at their ends; the gaps are white space or empty */
	size_t n;
	size_t n_long; /* units that were longer than a piece */
} cut_text;

/* piece_tokens: most tokens of a piece; 0: each unit is a piece, however long. A longer unit is cut between words, a
 * longer word between characters; only a single character may exceed the limit. CUT_WHOLE: the text is one piece,
 * without a limit. A text of white space has no pieces. Free *out even if this fails. */
evn_status text_cut(cut_text *out, const char *text, size_t bytes, cut_units units, size_t piece_tokens,
					const token_counter *counter, evn_error *err);
void cut_text_free(cut_text *c);

#endif
