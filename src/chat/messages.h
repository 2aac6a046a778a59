/* messages.h - messages and tools as OpenAI's API has them: read, checked, and brought to the one form that chat
 * templates expect. */
#ifndef EVN_MESSAGES_H
#define EVN_MESSAGES_H

#include "base/base.h"

#include <jansson.h>

/* An array of messages: each has a role and a content that is a string. Parts of text are joined by newlines, no
 * content is an empty one. Arguments of tool calls that are the text of a JSON object become that object; *n_parsed
 * counts them, and keep_arguments leaves them alone. */
evn_status evn_messages_read(json_t **out, const char *text, bool keep_arguments, size_t *n_parsed, evn_error *err);
/* An array or an object. `what` is for messages. */
evn_status evn_json_read(json_t **out, const char *what, const char *text, json_type type, evn_error *err);

#endif
