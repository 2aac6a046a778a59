/* talk.c - see talk.h. */
#include "cli/chat/talk.h"
#include "base/base.h"
#include "cli/show/text.h"

#include <stdlib.h>

#define TEMPLATE_MAX_BYTES (1u << 20)

evn_status talk_open(talk *t, const settings *s, evn_error *err)
{
	size_t n;
	*t = (talk){.options.variables_json = s->chat_variables};
	evn_status status =
		s->chat_template ? text_read(&t->template_text, &n, s->chat_template, TEMPLATE_MAX_BYTES, err) : EVN_OK;
	t->options.template_text = t->template_text;
	return status;
}

void talk_close(talk *t)
{
	free(t->template_text);
	*t = (talk){0};
}

evn_status talk_add(json_t *messages, const char *role, const char *text, size_t n, evn_error *err)
{
	json_t *content = json_stringn(text, n);
	if (!content)
		return evn_fail(err, EVN_ERR_USAGE, "the message of the %s is not UTF-8", role);
	json_t *message = json_pack("{s:s, s:o}", "role", role, "content", content);
	return json_array_append_new(messages, message) == 0 ? EVN_OK : evn_fail_memory(err, "a message", n);
}

evn_status talk_make_prompt(talk_prompt *out, const talk *t, const evn_model *m, const json_t *messages,
							evn_error *err)
{
	char *json = json_dumps(messages, JSON_COMPACT), *text = NULL;
	*out = (talk_prompt){0};
	if (!json)
		return evn_fail_memory(err, "the conversation", 0);
	evn_status status = evn_chat_prompt(m, json, &t->options, &out->ids, &out->n, &text, err);
	if (status == EVN_OK)
		out->starts_reasoning = evn_chat_opens_reasoning(text);
	free(text);
	free(json);
	return status;
}
