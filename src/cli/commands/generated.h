/* generated.h - a text that the model writes, through the scheduler, for commands with one user: it is printed as it
 * comes, and Ctrl-C ends it. */
#ifndef EVN_CLI_GENERATED_H
#define EVN_CLI_GENERATED_H

#include "cli/commands/loaded.h"

typedef struct {
	const talk_prompt *prompt;
	bool reasoning_apart; /* text between <think> and </think> is no content */
	uint64_t number;      /* of texts before it with the same settings: each draws with a seed of its own */
} generate_options;

typedef struct {
	int32_t *ids; /* drawn, without the one that ends the text */
	size_t n_ids;
	char *content, *reasoning; /* malloc'd */
	size_t n_content, n_reasoning;
	const char *finish; /* "stop", "length": -n, "context", "interrupted" */
	evn_request_result result;
	evn_rank_stats ranks[EVN_MAX_RANKS];
} generated;

/* Prints the text on stdout, unless --json. Of -n 0 only the prompt is computed. */
evn_status generate(generated *out, const loaded *l, const settings *s, const generate_options *o, evn_error *err);
void generated_free(generated *g);

double generated_first_s(const generated *g);     /* until the first token */
double generated_prompt_rate(const generated *g); /* tokens/s, of those that were computed; NaN: none */
double generated_decode_rate(const generated *g); /* tokens/s behind the first; NaN: none */

#endif
