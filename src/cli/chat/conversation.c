/* conversation.c - see conversation.h. */
#include "cli/chat/conversation.h"
#include "base/base.h"
#include "cli/interrupt.h"
#include "cli/show/answer.h"
#include "cli/show/console.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void turn_clear(turn *t)
{
	free(t->content);
	free(t->reasoning);
	*t = (turn){0};
}

evn_status conversation_open(conversation *c, loaded *l, const settings *s, evn_error *err)
{
	*c = (conversation){.settings = s, .loaded = l, .messages = json_array()};
	c->ids = calloc((size_t)evn_engine_context(l->engine) + 1, sizeof *c->ids);
	if (!c->messages || !c->ids)
		return evn_fail_memory(err, "the conversation", 0);
	evn_status status = talk_open(&c->talk, s, err);
	if (status == EVN_OK && s->chat_system)
		status = conversation_set_system(c, s->chat_system, err);
	return status == EVN_OK ? settings_create_sampler(s, l->info.vocab, &c->sampler, err) : status;
}

void conversation_close(conversation *c)
{
	talk_close(&c->talk);
	evn_sampler_free(c->sampler);
	json_decref(c->messages);
	free(c->ids);
	*c = (conversation){0};
}

/* ---- an answer ----------------------------------------------------------------------------------------------- */

typedef struct {
	conversation *c;
	turn *t;
	evn_answer *answer;
	FILE *content, *reasoning; /* streams into the turn */
} answering;

static evn_status begin_answer(answering *a, bool starts_reasoning, evn_error *err)
{
	const settings *s = a->c->settings;
	const evn_answer_options o = {.stops = s->stops.items,
								  .n_stops = s->stops.n,
								  .reasoning_apart = true,
								  .starts_reasoning = starts_reasoning};
	a->content = open_memstream(&a->t->content, &a->t->n_content);
	a->reasoning = open_memstream(&a->t->reasoning, &a->t->n_reasoning);
	if (!a->content || !a->reasoning)
		return evn_fail_memory(err, "the answer", 0);
	return evn_answer_create(&a->answer, a->c->loaded->model, &o, err);
}

static evn_status take(answering *a, evn_answer_piece piece, evn_error *err)
{
	fputs(piece.content, a->content);
	fputs(piece.reasoning, a->reasoning);
	return a->c->settings->json ? EVN_OK : answer_print(piece, err);
}

static evn_status end_answer(answering *a, evn_status status, evn_error *err)
{
	if (a->answer && status == EVN_OK)
		status = take(a, evn_answer_end(a->answer), err);
	if (a->answer && !a->c->settings->json)
		answer_print_end();
	evn_answer_free(a->answer);
	bool lost = a->content && fclose(a->content) != 0;
	lost |= a->reasoning && fclose(a->reasoning) != 0;
	return status == EVN_OK && lost ? evn_fail_memory(err, "the answer", 0) : status;
}

/* Computes the prompt behind the ids that the session has. Its last id is always computed: it gives the logits. */
static evn_status compute_prompt(conversation *c, const talk_prompt *p, turn *t, evn_error *err)
{
	uint32_t context = evn_engine_context(c->loaded->engine);
	evn_session *session = c->loaded->session;
	double began = evn_now_s();
	size_t common = 0;
	if (p->n >= context)
		return evn_fail(err, EVN_ERR_LIMIT,
						"the conversation has %zu tokens, which leaves no room in the context of %u (-c)", p->n,
						context);
	while (common < c->n_ids && common + 1 < p->n && c->ids[common] == p->ids[common])
		common++;
	evn_status status = evn_session_rewind(session, (uint32_t)common, err);
	if (status != EVN_OK)
		return status;
	c->n_ids = common;
	status = evn_session_eval(session, p->ids + common, p->n - common, NULL, err);
	console_progress_end();
	if (status != EVN_OK)
		return status;
	memcpy(c->ids + common, p->ids + common, (p->n - common) * sizeof *c->ids);
	c->n_ids = p->n;
	evn_sampler_accept_prompt(c->sampler, p->ids + common, p->n - common);
	t->n_prompt = p->n;
	t->n_cached = common;
	t->prompt_s = evn_now_s() - began;
	return EVN_OK;
}

/* Draws the next id and takes its text. False at the end of the answer. */
static evn_status draw(answering *a, int32_t *id, bool *more, evn_error *err)
{
	conversation *c = a->c;
	*more = false;
	evn_status status = evn_sampler_draw(c->sampler, evn_session_logits(c->loaded->session), id, err);
	if (status != EVN_OK)
		return status;
	evn_sampler_accept(c->sampler, *id);
	if (evn_token_ends_generation(c->loaded->model, *id)) {
		a->t->finish = "stop";
		return EVN_OK;
	}
	a->t->n_tokens++;
	evn_answer_piece piece = evn_answer_push(a->answer, *id);
	if (piece.stopped)
		a->t->finish = "stop";
	*more = !piece.stopped;
	return take(a, piece, err);
}

static evn_status decode(answering *a, evn_error *err)
{
	conversation *c = a->c;
	turn *t = a->t;
	size_t limit = c->settings->n_predict < 0 ? SIZE_MAX : (size_t)c->settings->n_predict;
	double began = evn_now_s();
	int32_t id;
	bool more = limit > 0;
	t->finish = "length";
	while (more) {
		evn_status status = draw(a, &id, &more, err);
		if (t->n_tokens == 1 && t->first_token_s == 0.0)
			t->first_token_s = t->prompt_s + evn_now_s() - began;
		if (status != EVN_OK)
			return status;
		if (!more || t->n_tokens >= limit)
			break;
		if (c->n_ids >= evn_engine_context(c->loaded->engine)) {
			t->finish = "context";
			break;
		}
		if (interrupted()) {
			t->finish = "interrupted";
			break;
		}
		status = evn_session_eval(c->loaded->session, &id, 1, NULL, err);
		if (status != EVN_OK)
			return status;
		c->ids[c->n_ids++] = id;
	}
	t->decode_s = evn_now_s() - began;
	return EVN_OK;
}

static evn_status add_answer(conversation *c, const turn *t, evn_error *err)
{
	json_t *message = json_pack("{s:s, s:s%}", "role", "assistant", "content", t->content, t->n_content);
	if (message && t->n_reasoning > 0)
		json_object_set_new(message, "reasoning_content", json_stringn(t->reasoning, t->n_reasoning));
	return json_array_append_new(c->messages, message) == 0 ? EVN_OK : evn_fail_memory(err, "the answer", 0);
}

/* Answers the last message. */
static evn_status answer(conversation *c, turn *t, evn_error *err)
{
	answering a = {.c = c, .t = t};
	talk_prompt p;
	*t = (turn){0};
	evn_status status = talk_make_prompt(&p, &c->talk, c->loaded->model, c->messages, err);
	if (status == EVN_OK)
		status = compute_prompt(c, &p, t, err);
	if (status == EVN_OK)
		status = begin_answer(&a, p.starts_reasoning, err);
	if (status == EVN_OK)
		status = decode(&a, err);
	status = end_answer(&a, status, err);
	free(p.ids);
	return status == EVN_OK ? add_answer(c, t, err) : status;
}

static void forget_last(conversation *c) { json_array_remove(c->messages, json_array_size(c->messages) - 1); }

evn_status conversation_ask(conversation *c, const char *text, size_t n, turn *t, evn_error *err)
{
	*t = (turn){0};
	evn_status status = talk_add(c->messages, "user", text, n, err);
	if (status != EVN_OK)
		return status;
	status = answer(c, t, err);
	if (status != EVN_OK)
		forget_last(c);
	return status;
}

static const char *role_at(const conversation *c, size_t i)
{
	return json_string_value(json_object_get(json_array_get(c->messages, i), "role"));
}

evn_status conversation_again(conversation *c, turn *t, evn_error *err)
{
	size_t n = json_array_size(c->messages);
	*t = (turn){0};
	if (n == 0 || strcmp(role_at(c, n - 1), "assistant") != 0)
		return evn_fail(err, EVN_ERR_USAGE, "there is no answer yet");
	json_t *last = json_incref(json_array_get(c->messages, n - 1));
	forget_last(c);
	evn_status status = answer(c, t, err);
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

evn_status conversation_reset(conversation *c, evn_error *err)
{
	evn_sampler *fresh;
	evn_status status = settings_create_sampler(c->settings, c->loaded->info.vocab, &fresh, err);
	if (status != EVN_OK)
		return status;
	evn_sampler_free(c->sampler);
	c->sampler = fresh;
	for (size_t keep = has_system(c); json_array_size(c->messages) > keep;)
		forget_last(c);
	return EVN_OK;
}
