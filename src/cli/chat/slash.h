/* slash.h - the commands inside a chat: /help, /system, ... */
#ifndef EVN_CLI_SLASH_H
#define EVN_CLI_SLASH_H

#include "cli/chat/conversation.h"

typedef struct {
	conversation *conversation;
	generated *last; /* of the last answer */
	bool exit;       /* /exit was given */
	bool answered;   /* *last is a new answer */
} slash_state;

/* Runs a line that begins with a slash. What it says goes to stderr. */
evn_status slash_run(slash_state *s, const char *line, evn_error *err);

#endif
