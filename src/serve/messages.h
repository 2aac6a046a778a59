/* messages.h - POST /v1/messages: the request as the one of a chat, and the answer in the shape of Anthropic's API.
 */
#ifndef EVN_SERVE_MESSAGES_H
#define EVN_SERVE_MESSAGES_H

#include "serve/generate.h"

extern const answer_shape messages_shape;

#endif
