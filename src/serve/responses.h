/* responses.h - POST /v1/responses: the request as the one of a chat, and the answer in the shape of OpenAI's
 * Responses API. Nothing is kept: a client sends the whole conversation each time. */
#ifndef EVN_SERVE_RESPONSES_H
#define EVN_SERVE_RESPONSES_H

#include "serve/generate.h"

extern const answer_shape responses_shape;

#endif
