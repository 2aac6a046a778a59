/* conversation.h - a conversation with a model: messages, and the session that has computed them. The next turn
 * computes only the ids behind those that the session already has. */
#ifndef EVN_CLI_CONVERSATION_H
#define EVN_CLI_CONVERSATION_H

#include "cli/chat/talk.h"
#include "cli/commands/loaded.h"

typedef struct {
	size_t n_prompt, n_cached, n_tokens; /* ids of the prompt, those that were there, ids drawn */
	double prompt_s, first_token_s, decode_s;
	const char *finish;
	char *content, *reasoning; /* malloc'd */
	size_t n_content, n_reasoning;
} turn;
void turn_clear(turn *t);

typedef struct {
	const settings *settings;
	loaded *loaded;
	talk talk;
	evn_sampler *sampler;
	json_t *messages;
	int32_t *ids; /* that the session holds */
	size_t n_ids;
} conversation;

evn_status conversation_open(conversation *c, loaded *l, const settings *s,
							 evn_error *err); /* close it even if this fails */
void conversation_close(conversation *c);

/* Answers a message. Prints the answer as it comes, unless --json. Without an answer the message is forgotten. */
evn_status conversation_ask(conversation *c, const char *text, size_t n, turn *t, evn_error *err);
evn_status conversation_again(conversation *c, turn *t, evn_error *err);               /* the last answer anew */
evn_status conversation_reset(conversation *c, evn_error *err);                        /* the system message stays */
evn_status conversation_set_system(conversation *c, const char *text, evn_error *err); /* "": none */
const char *conversation_system(const conversation *c);                                /* NULL: none */

/* As JSON with a checksum: the messages, and the ids that the session holds. The keys and values are not saved; the
 * next turn computes them again. */
evn_status conversation_save(const conversation *c, const char *path, evn_error *err);
/* On failure the conversation is unchanged. *same_model: it was saved with this model. */
evn_status conversation_load(conversation *c, const char *path, bool *same_model, evn_error *err);

#endif
