/* talk.h - messages, and the prompts that they become with the chat template of the settings or the model. */
#ifndef EVN_CLI_TALK_H
#define EVN_CLI_TALK_H

#include "cli/config/settings.h"
#include "evener/chat.h"

#include <jansson.h>

typedef struct {
	evn_chat_options options;
	char *template_text; /* of --chat-template */
} talk;

evn_status talk_open(talk *t, const settings *s, evn_error *err); /* close it even if this fails */
void talk_close(talk *t);

/* Appends a message. Its text must be UTF-8. */
evn_status talk_add(json_t *messages, const char *role, const char *text, size_t n, evn_error *err);

typedef struct {
	int32_t *ids; /* malloc'd */
	size_t n;
	bool starts_reasoning; /* the template has opened <think> */
} talk_prompt;
evn_status talk_make_prompt(talk_prompt *out, const talk *t, const evn_model *m, const json_t *messages,
							evn_error *err);

#endif
