/* tools.h - tools of a chat: what the model is told of them, which calls it may write, and the calls in its answer.
 */
#ifndef EVN_SERVE_TOOLS_H
#define EVN_SERVE_TOOLS_H

#include "evener/chat.h"
#include "serve/buffer.h"
#include "serve/params.h"

/* The text of an EVN_GRAMMAR_TOOLS, malloc'd. NULL: p says why. */
char *tools_grammar(const params *o, evn_tool_style style, problem *p);
/* The messages for a template that knows no tools: a system message tells of them, or the first message for a
 * template that has no role for the system. Calls and their results are text. The caller owns it; NULL: no memory. */
json_t *tools_as_text(json_t *messages, json_t *tools, bool no_system);

/* Tells calls from text as they come. */
typedef struct {
	evn_tool_style style;
	bool is_text; /* Llama's: the answer is no call */
	buffer held;  /* what may be the beginning of a tag, or a call that is not complete */
	bool in_call;
	json_t *calls; /* not yet taken: {"index", "id", "type", "function"}; NULL: none */
	size_t n_calls;
} tool_splitter;
/* Adds text that belongs to no call to `content`. last: no more text comes. */
void tools_split(tool_splitter *s, const char *text, bool last, buffer *content);
json_t *tools_take(tool_splitter *s); /* the caller owns it; NULL: none */
void tools_free(tool_splitter *s);

#endif
