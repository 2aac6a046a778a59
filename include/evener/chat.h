/* evener/chat.h - conversations: from messages to the ids of a prompt, by the model's chat template, and from the ids
 * of an answer to its text. */
#ifndef EVENER_CHAT_H
#define EVENER_CHAT_H

#include "../evener.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
	const char *template_text; /* Jinja2; NULL: the model file's own, or ChatML if it has none */
	const char *tools_json;    /* an array as in OpenAI's API; NULL: none */
	const char
		*variables_json;       /* an object with more variables of the template, such as {"enable_thinking": false} */
	bool no_generation_prompt; /* the text ends after the last message; the answer is not opened */
} evn_chat_options;            /* zero-initialise; NULL is the same */

/* messages_json: an array of {"role", "content", ...} as in OpenAI's API. Text of messages that looks like a control
 * token stays text. BOS is added where the model asks for it and the template does not write it. *ids and *text are
 * malloc'd, the caller frees them; text may be NULL. EVN_ERR_USAGE: messages that are not valid, or that the template
 * refuses, in its own words. EVN_ERR_FORMAT: the template is wrong; the line is named. EVN_ERR_LIMIT: it exceeds the
 * limits on steps, depth or memory. */
EVN_API evn_status evn_chat_prompt(const evn_model *m, const char *messages_json, const evn_chat_options *o,
								   int32_t **ids, size_t *n_ids, char **text, evn_error *err);

/* How a chat template writes tools and their calls. */
typedef enum {
	EVN_TOOLS_UNKNOWN,      /* it does not know tools */
	EVN_TOOLS_HERMES,       /* <tool_call>{"name": ..., "arguments": ...}</tool_call>, as Hermes and Qwen */
	EVN_TOOLS_LLAMA,        /* the answer is {"name": ..., "parameters": ...}, as Llama 3 */
	EVN_TOOLS_MISTRAL,      /* [TOOL_CALLS] [{"name": ..., "arguments": ...}, ...] */
	EVN_TOOLS_MISTRAL_ARGS, /* [TOOL_CALLS]NAME[ARGS]{...}, as Mistral since version 11 of its tokenizer */
	EVN_TOOLS_HARMONY, /* <|channel|>commentary to=functions.NAME <|constrain|>json<|message|>{...}, as gpt-oss */
	EVN_TOOLS_OTHER,
} evn_tool_style;
EVN_API evn_tool_style evn_chat_tool_style(const evn_model *m, const evn_chat_options *o);

/* Whether the text of a prompt opens reasoning: it ends in <think>. */
EVN_API bool evn_chat_opens_reasoning(const char *text);

/* An answer as it comes: ids in, text out, always whole characters. Text in which a stop string may begin is held
 * back. Reasoning between <think> and </think> at the beginning is told apart from content. So are the channels of
 * gpt-oss, where the vocabulary has their marks: "analysis" is reasoning, a call of a function becomes content in the
 * form of EVN_TOOLS_HERMES, all else is content. */
typedef struct {
	const char *const *stops; /* at most 16 strings of at most 4096 bytes; copied */
	size_t n_stops;
	bool reasoning_apart;  /* else all is content, and the tags stay */
	bool starts_reasoning; /* the prompt has already opened <think> */
	bool marks;            /* control tokens that mark calls become text, and channels are told apart */
	bool channels;         /* marks of channels count, though they are no control tokens of the vocabulary */
} evn_answer_options;      /* zero-initialise; NULL is the same */

typedef struct {
	const char *content, *reasoning; /* new text, maybe empty; valid until the next call */
	bool stopped;                    /* a stop string was found. It is not part of the text; later ids are ignored */
} evn_answer_piece;

typedef struct evn_answer evn_answer;
EVN_API evn_status evn_answer_create(evn_answer **out, const evn_model *m, const evn_answer_options *o,
									 evn_error *err);
EVN_API evn_answer_piece evn_answer_push(evn_answer *a, int32_t id);
EVN_API evn_answer_piece evn_answer_end(evn_answer *a); /* what was held back */
EVN_API void evn_answer_free(evn_answer *a);

#ifdef __cplusplus
}
#endif
#endif
