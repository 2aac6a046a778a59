/* conversation.c - see conversation.h. */
#include "cli/chat/conversation.h"
#include "base/base.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

evn_status conversation_open(conversation *c, loaded *l, const settings *s, evn_error *err)
{
	*c = (conversation){.settings = s, .loaded = l, .messages = json_array()};
	c->ids = calloc((size_t)evn_engine_context(l->engine) + 1, sizeof *c->ids);
	if (!c->messages || !c->ids)
		return evn_fail_memory(err, "the conversation", 0);
	evn_status status = talk_open(&c->talk, s, err);
	if (status == EVN_OK && s->chat_system)
		status = conversation_set_system(c, s->chat_system, err);
	return status;
}

void conversation_close(conversation *c)
{
	talk_close(&c->talk);
	json_decref(c->messages);
	free(c->ids);
	*c = (conversation){0};
}

/* ---- an answer ----------------------------------------------------------------------------------------------- */

static evn_status check_fits(const conversation *c, const talk_prompt *p, evn_error *err)
{
	uint32_t context = evn_engine_context(c->loaded->engine);
	if (p->n < context)
		return EVN_OK;
	return evn_fail(err, EVN_ERR_LIMIT,
					"the conversation has %zu tokens, which leaves no room in the context of %u (-c)", p->n, context);
}

static evn_status add_answer(conversation *c, const talk_prompt *p, const generated *g, evn_error *err)
{
	json_t *message = json_pack("{s:s, s:s%}", "role", "assistant", "content", g->content, g->n_content);
	if (message && g->n_reasoning > 0)
		json_object_set_new(message, "reasoning_content", json_stringn(g->reasoning, g->n_reasoning));
	if (json_array_append_new(c->messages, message) != 0)
		return evn_fail_memory(err, "the answer", 0);
	memcpy(c->ids, p->ids, p->n * sizeof *c->ids);
	memcpy(c->ids + p->n, g->ids, g->n_ids * sizeof *c->ids);
	c->n_ids = p->n + g->n_ids;
	return EVN_OK;
}

/* Answers the last message. An answer that was interrupted before its first token is none. */
static evn_status answer(conversation *c, generated *g, evn_error *err)
{
	talk_prompt p;
	const generate_options o = {.prompt = &p, .reasoning_apart = true, .number = c->n_answers};
	*g = (generated){0};
	evn_status status = talk_make_prompt(&p, &c->talk, c->loaded->model, c->messages, err);
	if (status == EVN_OK)
		status = check_fits(c, &p, err);
	if (status == EVN_OK)
		status = generate(g, c->loaded, c->settings, &o, err);
	if (status == EVN_OK && g->result.end == EVN_END_CANCELLED && g->n_ids == 0)
		status = evn_fail(err, EVN_ERR_CANCELLED, "interrupted");
	if (status == EVN_OK)
		status = add_answer(c, &p, g, err);
	c->n_answers++;
	free(p.ids);
	return status;
}

static void forget_last(conversation *c) { json_array_remove(c->messages, json_array_size(c->messages) - 1); }

evn_status conversation_ask(conversation *c, const char *text, size_t n, generated *g, evn_error *err)
{
	*g = (generated){0};
	evn_status status = talk_add(c->messages, "user", text, n, err);
	if (status != EVN_OK)
		return status;
	status = answer(c, g, err);
	if (status != EVN_OK)
		forget_last(c);
	return status;
}

static const char *role_at(const conversation *c, size_t i)
{
	return json_string_value(json_object_get(json_array_get(c->messages, i), "role"));
}

evn_status conversation_again(conversation *c, generated *g, evn_error *err)
{
	size_t n = json_array_size(c->messages);
	*g = (generated){0};
	if (n == 0 || strcmp(role_at(c, n - 1), "assistant") != 0)
		return evn_fail(err, EVN_ERR_USAGE, "there is no answer yet");
	json_t *last = json_incref(json_array_get(c->messages, n - 1));
	forget_last(c);
	evn_status status = answer(c, g, err);
	if (status != EVN_OK)
		json_array_append(c->messages, last);
	json_decref(last);
	return status;
}

/* ---- the system message -------------------------------------------------------------------------------------- */

static bool has_system(const conversation *c)
{
	return json_array_size(c->messages) > 0 && strcmp(role_at(c, 0), "system") == 0;
}

const char *conversation_system(const conversation *c)
{
	return has_system(c) ? json_string_value(json_object_get(json_array_get(c->messages, 0), "content")) : NULL;
}

evn_status conversation_set_system(conversation *c, const char *text, evn_error *err)
{
	json_t *first = json_array();
	evn_status status = *text ? talk_add(first, "system", text, strlen(text), err) : EVN_OK;
	if (status == EVN_OK && has_system(c))
		json_array_remove(c->messages, 0);
	if (status == EVN_OK && *text)
		status = json_array_insert(c->messages, 0, json_array_get(first, 0)) == 0
					 ? EVN_OK
					 : evn_fail_memory(err, "the system message", 0);
	json_decref(first);
	return status;
}

void conversation_reset(conversation *c)
{
	c->n_answers = 0;
	for (size_t keep = has_system(c); json_array_size(c->messages) > keep;)
		forget_last(c);
}
