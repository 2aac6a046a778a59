/* scored_text.h - a text divided into the windows in which it is scored, and what is known of their tokens. */
#ifndef EVN_CLI_SCORED_TEXT_H
#define EVN_CLI_SCORED_TEXT_H

#include "cli/config/settings.h"
#include "evener/score.h"

typedef struct {
	const char *name; /* for messages */
	uint32_t length;  /* tokens of a window; the last one may have fewer */
	uint32_t begun;   /* 1 if each window begins with a token that is not the text's, else 0 */
	int32_t *ids;     /* (n_windows, length) */
	double *log_p;
	evn_window *windows;
	size_t n_windows, n_scored;
} scored_text;

/* Reads the text that s names. A text without a token to score is an error. Free *t even if this fails. */
evn_status scored_text_read(scored_text *t, const evn_model *m, const settings *s, evn_error *err);
void scored_text_free(scored_text *t);

/* The mean of -log p over the tokens of the finished windows at the beginning. NAN if there are none. */
double scored_text_nll(const scored_text *t);
/* The place of token k of window w in the text, counted from 0. */
size_t scored_text_place(const scored_text *t, size_t w, uint32_t k);

#endif
