/* answer.c - the answer of a completion or a chat as JSON: whole, or as a stream of server-sent events. */
#include "serve/generate.h"
#include "serve/server.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- logprobs -------------------------------------------------------------------------------------------------- */

/* The token's bytes, malloc'd; NULL where the vocabulary has none. */
static char *token_bytes(const generation *g, int32_t id, size_t *n)
{
	char *text = NULL;
	if (evn_detokenize(g->x->served->m.model, &id, 1, true, &text, n, NULL) == EVN_OK)
		return text;
	*n = 0;
	return NULL;
}

static json_t *token_text(const generation *g, int32_t id)
{
	size_t n;
	char *text = token_bytes(g, id, &n);
	json_t *json = reply_text(text ? text : "", n);
	free(text);
	return json;
}

static json_t *chat_token(const generation *g, int32_t id, float logprob)
{
	size_t n;
	char *text = token_bytes(g, id, &n);
	json_t *bytes = json_array();
	for (size_t i = 0; i < n; i++)
		json_array_append_new(bytes, json_integer((unsigned char)text[i]));
	free(text);
	return json_pack("{s:o, s:o, s:o}", "token", token_text(g, id), "logprob", reply_logprob(logprob), "bytes",
					 bytes);
}

static json_t *chat_logprobs(const choice *c)
{
	json_t *content = json_array();
	for (size_t i = 0; i < c->n_drawn; i++) {
		const drawn_token *d = &c->drawn[i];
		json_t *token = chat_token(c->of, d->id, d->logprob), *top = json_array();
		for (size_t k = 0; k < d->n_top; k++)
			json_array_append_new(top, chat_token(c->of, d->top[k].id, d->top[k].logprob));
		json_object_set_new(token, "top_logprobs", top);
		json_array_append_new(content, token);
	}
	return json_pack("{s:o, s:n}", "content", content, "refusal");
}

static size_t characters(const char *text)
{
	size_t n = 0;
	for (; *text; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

static json_t *completion_logprobs(choice *c)
{
	json_t *tokens = json_array(), *logprobs = json_array(), *tops = json_array(), *offsets = json_array();
	for (size_t i = 0; i < c->n_drawn; i++) {
		const drawn_token *d = &c->drawn[i];
		json_t *text = token_text(c->of, d->id), *top = json_object();
		for (size_t k = 0; k < d->n_top; k++) {
			json_t *name = token_text(c->of, d->top[k].id);
			json_object_set_new(top, name ? json_string_value(name) : "", reply_logprob(d->top[k].logprob));
			json_decref(name);
		}
		json_array_append_new(offsets, json_integer((json_int_t)c->text_offset));
		c->text_offset += text ? characters(json_string_value(text)) : 0;
		json_array_append_new(tokens, text);
		json_array_append_new(logprobs, reply_logprob(d->logprob));
		json_array_append_new(tops, top);
	}
	return json_pack("{s:o, s:o, s:o, s:o}", "tokens", tokens, "token_logprobs", logprobs, "top_logprobs", tops,
					 "text_offset", offsets);
}

static json_t *take_logprobs(choice *c)
{
	if (!c->of->params.logprobs)
		return json_null();
	json_t *json = c->of->use == PARAMS_CHAT ? chat_logprobs(c) : completion_logprobs(c);
	c->n_drawn = 0;
	return json;
}

/* ---- parts of both forms --------------------------------------------------------------------------------------- */

static json_t *take_text(buffer *b)
{
	json_t *text = reply_text(b->data ? b->data : "", b->used);
	buffer_remove(b, b->used);
	return text;
}

static json_t *usage_json(const generation *g)
{
	json_int_t asked = 0, cached = 0, drawn = 0;
	for (size_t i = 0; i < g->n_prompts; i++) {
		asked += (json_int_t)g->prompts[i].n;
		cached += g->choices[i * (size_t)g->params.n].n_cached;
	}
	for (size_t i = 0; i < g->n_choices; i++)
		drawn += g->choices[i].n_tokens;
	return json_pack("{s:I, s:I, s:I, s:{s:I}}", "prompt_tokens", asked, "completion_tokens", drawn, "total_tokens",
					 asked + drawn, "prompt_tokens_details", "cached_tokens", cached);
}

/* choices: owned; usage: owned, NULL: the key is left out. */
static json_t *envelope(const generation *g, const char *object, json_t *choices, json_t *usage)
{
	return json_pack("{s:s, s:s, s:I, s:s, s:s, s:o, s:o*}", "id", g->id, "object", object, "created",
					 (json_int_t)g->created, "model", g->x->served->name, "system_fingerprint", "evener-" EVN_VERSION,
					 "choices", choices, "usage", usage);
}

/* ---- whole ----------------------------------------------------------------------------------------------------- */

static json_t *whole_choice(choice *c)
{
	json_t *logprobs = take_logprobs(c);
	if (c->of->use == PARAMS_COMPLETION)
		return json_pack("{s:I, s:o, s:o, s:s}", "index", (json_int_t)c->index, "text", take_text(&c->content),
						 "logprobs", logprobs, "finish_reason", c->finish);
	json_t *reasoning = c->reasoning.used ? take_text(&c->reasoning) : NULL;
	json_t *calls = tools_take(&c->tools),
		   *content = calls && !c->content.used ? json_null() : take_text(&c->content), *call;
	size_t i;
	json_array_foreach(calls, i, call) json_object_del(call, "index"); /* only streams have it */
	json_t *message = json_pack("{s:s, s:o, s:o*, s:o*, s:n}", "role", "assistant", "content", content,
								"reasoning_content", reasoning, "tool_calls", calls, "refusal");
	return json_pack("{s:I, s:o, s:o, s:s}", "index", (json_int_t)c->index, "message", message, "logprobs", logprobs,
					 "finish_reason", c->finish);
}

void answer_compose(exchange *x)
{
	generation *g = x->generation;
	pthread_mutex_lock(&x->lock);
	if (g->shape) {
		reply_json(&x->reply, g->failure.status ? g->failure.status : 200,
				   g->failure.status ? g->shape->problem(&g->failure) : g->shape->whole(g));
	} else if (g->failure.status) {
		reply_problem(&x->reply, &g->failure);
	} else {
		json_t *choices = json_array();
		for (size_t i = 0; i < g->n_choices; i++)
			json_array_append_new(choices, whole_choice(&g->choices[i]));
		reply_json(
			&x->reply, 200,
			envelope(g, g->use == PARAMS_CHAT ? "chat.completion" : "text_completion", choices, usage_json(g)));
	}
	pthread_mutex_unlock(&x->lock);
}

/* ---- as a stream ----------------------------------------------------------------------------------------------- */

/* body: a delta or a text, owned. */
static void add_chunk(choice *c, json_t *body, json_t *logprobs, const char *finish)
{
	generation *g = c->of;
	bool chat = g->use == PARAMS_CHAT;
	json_t *one = json_pack("{s:I, s:o, s:o, s:s?}", "index", (json_int_t)c->index, chat ? "delta" : "text", body,
							"logprobs", logprobs, "finish_reason", finish);
	reply_event(&g->out, envelope(g, chat ? "chat.completion.chunk" : "text_completion", json_pack("[o]", one),
								  g->params.include_usage ? json_null() : NULL));
}

static void add_chat_news(choice *c)
{
	bool news = c->content.used || c->reasoning.used || c->n_drawn || c->tools.calls;
	if (!c->began && (news || c->finish)) {
		c->began = true;
		add_chunk(c, json_pack("{s:s, s:s}", "role", "assistant", "content", ""), json_null(), NULL);
	}
	if (c->reasoning.used)
		add_chunk(c, json_pack("{s:o}", "reasoning_content", take_text(&c->reasoning)), json_null(), NULL);
	if (c->content.used || c->n_drawn)
		add_chunk(c, json_pack("{s:o}", "content", take_text(&c->content)), take_logprobs(c), NULL);
	if (c->tools.calls)
		add_chunk(c, json_pack("{s:o}", "tool_calls", tools_take(&c->tools)), json_null(), NULL);
	if (c->finish)
		add_chunk(c, json_object(), json_null(), c->finish);
}

static void add_completion_news(choice *c)
{
	if (c->content.used || c->n_drawn || c->finish)
		add_chunk(c, take_text(&c->content), take_logprobs(c), c->finish);
}

static void add_news(generation *g)
{
	for (size_t i = 0; i < g->n_choices && !g->failure.status; i++) {
		choice *c = &g->choices[i];
		if (c->finished)
			continue;
		if (g->use == PARAMS_CHAT)
			add_chat_news(c);
		else
			add_completion_news(c);
		c->finished = c->finish != NULL;
	}
	if (!generation_ended(g))
		return;
	if (g->failure.status)
		reply_event(&g->out, problem_json(&g->failure));
	else if (g->params.include_usage)
		reply_event(&g->out, envelope(g, g->use == PARAMS_CHAT ? "chat.completion.chunk" : "text_completion",
									  json_array(), usage_json(g)));
	buffer_text(&g->out, "data: [DONE]\n\n");
	g->said_all = true;
}

ssize_t answer_read(exchange *x, char *to, size_t n)
{
	generation *g = x->generation;
	ssize_t given = 0;
	pthread_mutex_lock(&x->lock);
	if (g->out.used == 0 && !g->said_all)
		(g->shape ? g->shape->add_news : add_news)(g);
	if (g->out.failed) {
		given = MHD_CONTENT_READER_END_WITH_ERROR;
	} else if (g->out.used > 0) {
		given = (ssize_t)buffer_take(&g->out, to, n);
	} else if (g->said_all) {
		given = MHD_CONTENT_READER_END_OF_STREAM;
	} else {
		exchange_suspend(x);
	}
	pthread_mutex_unlock(&x->lock);
	return given;
}
