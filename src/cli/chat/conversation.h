/* conversation.h - a conversation with a model. The next turn computes only what is new, as the scheduler keeps what
 * was computed. */
#ifndef EVN_CLI_CONVERSATION_H
#define EVN_CLI_CONVERSATION_H

#include "cli/chat/talk.h"
#include "cli/commands/generated.h"

typedef struct {
	const settings *settings;
	loaded *loaded;
	talk talk;
	json_t *messages;
	uint64_t n_answers; /* so far: each draws with a seed of its own */
	int32_t *ids;       /* of the last prompt and its answer */
	size_t n_ids;
} conversation;

evn_status conversation_open(conversation *c, loaded *l, const settings *s,
							 evn_error *err); /* close it even if this fails */
void conversation_close(conversation *c);

/* Answers a message. Prints the answer as it comes, unless --json. Without an answer the message is forgotten. */
evn_status conversation_ask(conversation *c, const char *text, size_t n, generated *g, evn_error *err);
evn_status conversation_again(conversation *c, generated *g, evn_error *err);          /* the last answer anew */
void conversation_reset(conversation *c);                                              /* the system message stays */
evn_status conversation_set_system(conversation *c, const char *text, evn_error *err); /* "": none */
const char *conversation_system(const conversation *c);                                /* NULL: none */

/* As JSON with a checksum: the messages, and the ids of the last prompt and answer. The keys and values of these ids
 * are in a second file, PATH.keys. If that is not there, is damaged or of another model, the next turn computes them
 * again. */
evn_status conversation_save(const conversation *c, const char *path, evn_error *err);
/* On failure the conversation is unchanged. *same_model: it was saved with this model. */
evn_status conversation_load(conversation *c, const char *path, bool *same_model, evn_error *err);

#endif
