/* generate.h - completions and chats: the requests of the scheduler behind one exchange, and what they have drawn. */
#ifndef EVN_SERVE_GENERATE_H
#define EVN_SERVE_GENERATE_H

#include "evener/chat.h"
#include "evener/requests.h"
#include "serve/exchange.h"
#include "serve/params.h"
#include "serve/tools.h"

typedef struct {
	int32_t id;
	float logprob;
	size_t n_top;
	evn_token_logprob top[MAX_TOP];
} drawn_token;

/* One answer: a request of the scheduler. The scheduler's thread adds to it, the HTTP thread takes from it; the
 * exchange's lock is between them. */
typedef struct {
	generation *of;
	size_t index;
	evn_request *request;
	evn_answer *answer; /* of the scheduler's thread */
	uint64_t last_ns;
	tool_splitter tools;
	buffer content, reasoning; /* not yet taken */
	drawn_token *drawn;        /* not yet taken; empty without logprobs */
	size_t n_drawn, drawn_size, text_offset;
	const char *finish;          /* once it has ended */
	bool stopped;                /* by a stop string */
	bool began, finished;        /* what the stream's reader has said of it */
	uint32_t n_tokens, n_cached; /* once it has ended */
} choice;

typedef struct {
	int32_t *ids;
	size_t n;
	char *text; /* for echo, and of a chat; else NULL */
} prompt;

/* A chat that is asked for and answered in the shape of another API than OpenAI's chats. */
typedef struct {
	const char *id;                                            /* what ids begin with */
	const char *required;                                      /* a field that a chat may leave out; NULL: none */
	bool (*fill_chat)(json_t *chat, json_t *root, problem *p); /* the fields of a chat that ask for the same */
	json_t *(*problem)(const problem *p);
	/* What the HTTP thread sends; with the exchange's lock held. */
	json_t *(*whole)(generation *g);
	void (*add_news)(generation *g);
} answer_shape;

struct generation {
	exchange *x;
	params_use use;
	params params;
	evn_grammar *grammar;      /* of the answers, or NULL */
	const answer_shape *shape; /* NULL: that of OpenAI's completions and chats */
	/* Of an answer in another shape: the type of the block that is open, or NULL; how many are closed. */
	const char *block;
	size_t n_blocks;
	json_t *items; /* and of responses: those that are closed, the text of the open one, events */
	buffer so_far;
	size_t n_events;
	evn_tool_style tool_style;
	bool has_tools; /* calls are told from content */
	prompt *prompts;
	choice *choices; /* (n_prompts, params.n) */
	size_t n_prompts, n_choices;
	char id[40];
	int64_t created;

	/* With the exchange's lock held: first choices of prompts that have drawn a token; requests that run and jobs
	 * that make some; requests that were made. */
	size_t n_first, n_running, n_submitted;
	bool started;    /* the HTTP thread may send what there is */
	problem failure; /* status 0: none */
	buffer out;      /* of the stream's reader */
	bool said_all;
};

/* What an endpoint does. */
bool generation_begin(exchange *x, params_use use, const answer_shape *shape);
/* The request as that of a chat. The caller owns it; NULL: p says why. */
json_t *shape_as_chat(const answer_shape *shape, json_t *root, problem *p);
/* prompts.c: fills in g->prompts. */
bool prompts_make(generation *g, problem *p);
/* answer.c: what the HTTP thread sends. */
void answer_compose(exchange *x);
ssize_t answer_read(exchange *x, char *to, size_t n);
bool generation_ended(const generation *g); /* all that were to run have. With the exchange's lock held */
/* A chat as ids and text. */
bool chat_make(const exchange *x, const params *o, prompt *to, problem *p);

void generation_describe(const generation *g, char *to, size_t size); /* for the log. With the exchange's lock held */
void generation_cancel(generation *g);
void generation_free(generation *g);

#endif
