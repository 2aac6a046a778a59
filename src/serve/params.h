/* params.h - the fields of a completion or a chat, checked. */
#ifndef EVN_SERVE_PARAMS_H
#define EVN_SERVE_PARAMS_H

#include "evener/grammar.h"
#include "evener/sample.h"
#include "serve/fields.h"

enum {
	MAX_CHOICES = 16, /* n */
	MAX_PROMPTS = 64, /* of one request */
	MAX_STOPS = 16,
	MAX_BIASES = 1024,
	MAX_TOP = 20, /* top_logprobs */
};

typedef enum { TOOLS_AUTO, TOOLS_NONE, TOOLS_REQUIRED } tool_choice;

typedef struct {
	tool_choice tool_choice;
	const char *tool_name; /* the one that must be called, or NULL */
	bool parallel_tools;   /* several calls in an answer */
	const char *model;     /* NULL: not named */
	bool stream, include_usage, echo, ignore_end, logprobs, generation_prompt;
	int64_t max_tokens; /* 0: as many as the context holds */
	int64_t n, n_top, priority;
	int64_t top_k, repeat_last_n, seed;
	double temperature, top_p, min_p, repeat_penalty, frequency_penalty, presence_penalty;
	const char *stops[MAX_STOPS];
	size_t n_stops;
	bool has_grammar;
	evn_grammar_kind grammar_kind;
	char *grammar; /* malloc'd; NULL: the kind needs no text */
	evn_logit_bias *bias;
	size_t n_bias;
	json_t *prompt;                             /* a completion's: a string or an array */
	json_t *messages, *tools, *template_values; /* a chat's; the last two may be NULL */
} params;

typedef enum { PARAMS_COMPLETION = 1, PARAMS_CHAT = 2 } params_use;

/* The strings and JSON values are borrowed from root. Where root says nothing, sampling is as in `defaults`. */
bool params_has_tools(const params *p); /* the answer may have calls */
bool params_read(params *out, params_use use, json_t *root, const evn_sample_options *defaults, problem *p);
/* The strings and JSON values are used no more. */
void params_forget(params *p);
void params_free(params *p);
const char *params_grammar_field(const params *p); /* the field that an error of the grammar is about */
/* What the sampler gets for the choice with this index. */
evn_sample_options params_sampling(const params *p, int64_t index);

#endif
