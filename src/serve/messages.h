/* messages.h - POST /v1/messages: the request as the one of a chat, and the answer in the shape of Anthropic's API.
 */
#ifndef EVN_SERVE_MESSAGES_H
#define EVN_SERVE_MESSAGES_H

#include "serve/generate.h"

/* The fields of a chat that ask for the same. The caller owns it; NULL: p says why. */
json_t *messages_as_chat(json_t *root, problem *p);
json_t *messages_problem(const problem *p); /* an error in this shape */
/* What the HTTP thread sends; with the exchange's lock held. */
json_t *messages_whole(generation *g);
void messages_add_news(generation *g);

#endif
