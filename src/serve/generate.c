/* generate.c - POST /v1/completions and /v1/chat/completions: makes the requests and keeps what they draw. Choices of
 * one prompt share its cache blocks: the others are submitted when the first has drawn a token, so that its prompt
 * has been computed. */
#include "serve/generate.h"
#include "serve/endpoints.h"
#include "serve/server.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

/* ---- events of the scheduler ----------------------------------------------------------------------------------- */

bool generation_ended(const generation *g)
{
	return g->n_running == 0 && (g->failure.status || g->n_submitted == g->n_choices);
}

static void keep_drawn(choice *c, const evn_request_token *t)
{
	if (c->n_drawn == c->drawn_size) {
		size_t size = c->drawn_size ? 2 * c->drawn_size : 16;
		drawn_token *drawn = realloc(c->drawn, size * sizeof *drawn);
		if (!drawn)
			return; /* the answer lacks a token's figures then */
		c->drawn = drawn;
		c->drawn_size = size;
	}
	drawn_token *d = &c->drawn[c->n_drawn++];
	*d = (drawn_token){.id = t->id, .logprob = t->logprob, .n_top = t->n_top < MAX_TOP ? t->n_top : MAX_TOP};
	memcpy(d->top, t->top, d->n_top * sizeof *d->top);
}

static void submit_others(exchange *x);

/* With the lock held. */
static void first_token(choice *c)
{
	generation *g = c->of;
	if (c->index % (size_t)g->params.n != 0 || ++g->n_first < g->n_prompts || g->params.n == 1)
		return;
	g->n_running++;
	exchange_work_begins(g->x);
	exchange_submit(g->x, &g->x->more, submit_others);
}

static void measure_token(choice *c)
{
	uint64_t now = evn_now_ns();
	metrics *m = &c->of->x->server->metrics;
	if (c->last_ns)
		histogram_add(&m->next_token, (double)(now - c->last_ns) * 1e-9);
	else
		histogram_add(&m->first_token, (double)(now - c->of->x->began_ns) * 1e-9);
	c->last_ns = now;
}

/* With the lock held. */
static void add_piece(choice *c, evn_answer_piece piece, bool last)
{
	if (c->of->has_tools)
		tools_split(&c->tools, piece.content, last, &c->content);
	else
		buffer_text(&c->content, piece.content);
	buffer_text(&c->reasoning, piece.reasoning);
}

static bool on_token(void *user, const evn_request_token *t)
{
	choice *c = user;
	generation *g = c->of;
	exchange *x = g->x;
	bool is_first = c->last_ns == 0;
	evn_answer_piece piece = {"", "", false};
	measure_token(c);
	if (!t->ends)
		piece = evn_answer_push(c->answer, t->id);
	pthread_mutex_lock(&x->lock);
	if (is_first)
		first_token(c);
	if (g->params.logprobs && !t->ends && !(piece.stopped && !*piece.content))
		keep_drawn(c, t);
	add_piece(c, piece, false);
	c->stopped |= piece.stopped;
	bool goes_on = !piece.stopped && !x->gone;
	if (g->params.stream && g->started && (c->content.used || c->reasoning.used || c->n_drawn > 0 || c->tools.calls))
		exchange_wake(x);
	pthread_mutex_unlock(&x->lock);
	return goes_on;
}

static void note_end(choice *c, const evn_request_result *r)
{
	generation *g = c->of;
	c->n_tokens = r->n_tokens;
	c->n_cached = r->n_cached;
	c->finish = r->end != EVN_END_STOP ? "length" : c->tools.n_calls ? "tool_calls" : "stop";
	if (g->failure.status)
		return;
	if (r->end == EVN_END_FAILED)
		problem_set(&g->failure, 500, NULL, NULL, "%s", r->error.text);
	else if (r->end == EVN_END_CANCELLED)
		problem_set(&g->failure, 503, NULL, NULL, "the server is stopping");
	else if (c->content.failed || c->reasoning.failed)
		problem_set(&g->failure, 500, NULL, NULL, "out of memory");
}

static void on_end(void *user, const evn_request_result *r)
{
	choice *c = user;
	generation *g = c->of;
	exchange *x = g->x;
	evn_answer_piece piece = evn_answer_end(c->answer);
	metrics_request(&x->server->metrics, r, (double)(evn_now_ns() - x->began_ns) * 1e-9);
	pthread_mutex_lock(&x->lock);
	add_piece(c, piece, true);
	note_end(c, r);
	g->n_running--;
	if (g->started && (g->params.stream || generation_ended(g)))
		exchange_wake(x);
	pthread_mutex_unlock(&x->lock);
	exchange_work_ends(x);
}

/* ---- making requests ------------------------------------------------------------------------------------------- */

static bool submit(choice *c, problem *p)
{
	generation *g = c->of;
	exchange *x = g->x;
	const prompt *from = &g->prompts[c->index / (size_t)g->params.n];
	const evn_request_options o = {
		.prompt = from->ids,
		.n_prompt = from->n,
		.max_tokens = (uint32_t)g->params.max_tokens,
		.sampling = params_sampling(&g->params, (int64_t)c->index),
		.bias = g->params.bias,
		.n_bias = g->params.n_bias,
		.grammar = g->grammar,
		.ignore_end = g->params.ignore_end,
		.logprobs = g->params.logprobs,
		.n_top = (uint32_t)g->params.n_top,
		.priority = (int32_t)g->params.priority,
		.events = {.on_token = on_token, .on_end = on_end, .user = c},
	};
	evn_request *request = NULL;
	evn_error e = {0};
	pthread_mutex_lock(&x->lock);
	bool abandoned = x->abandoned;
	g->n_running += !abandoned;
	pthread_mutex_unlock(&x->lock);
	if (abandoned)
		return problem_set(p, 503, NULL, NULL, "the server is stopping");
	exchange_work_begins(x);
	evn_status status = evn_request_submit(&request, x->served->m.scheduler, &o, &e);
	pthread_mutex_lock(&x->lock);
	c->request = request;
	abandoned = x->abandoned;
	g->n_submitted += status == EVN_OK;
	g->n_running -= status != EVN_OK;
	pthread_mutex_unlock(&x->lock);
	if (status == EVN_OK) {
		if (abandoned)
			evn_request_cancel(request);
		return true;
	}
	exchange_work_ends(x);
	if (status == EVN_ERR_LIMIT) /* what does not fit into the context was found before */
		return problem_set(p, 429, "queue_full", NULL, "%s", e.text);
	return problem_from(p, NULL, &e);
}

static bool submit_all(generation *g, bool first, problem *p)
{
	for (size_t i = 0; i < g->n_choices; i++)
		if ((i % (size_t)g->params.n == 0) == first && !submit(&g->choices[i], p))
			return false;
	return true;
}

/* A job: the choices of each prompt but the first. */
static void submit_others(exchange *x)
{
	generation *g = x->generation;
	problem p = {0};
	bool ok = submit_all(g, false, &p);
	pthread_mutex_lock(&x->lock);
	if (!ok && !g->failure.status)
		g->failure = p;
	g->n_running--;
	if (g->params.stream || generation_ended(g))
		exchange_wake(x);
	pthread_mutex_unlock(&x->lock);
	if (!ok)
		generation_cancel(g);
	exchange_work_ends(x);
}

void generation_describe(const generation *g, char *to, size_t size)
{
	size_t asked = 0, cached = 0, drawn = 0;
	for (size_t i = 0; i < g->n_prompts; i++)
		asked += g->prompts[i].n;
	for (size_t i = 0; i < g->n_choices; i++) {
		drawn += g->choices[i].n_tokens;
		cached += g->choices[i].n_cached;
	}
	snprintf(to, size, ", %zu prompt tokens (%zu cached), %zu drawn", asked, cached, drawn);
}

void generation_cancel(generation *g)
{
	for (size_t i = 0; i < g->n_choices; i++) {
		pthread_mutex_lock(&g->x->lock);
		evn_request *r = g->choices[i].request;
		pthread_mutex_unlock(&g->x->lock);
		if (r)
			evn_request_cancel(r);
	}
}

/* ---- the endpoints --------------------------------------------------------------------------------------------- */

static bool make_choices(generation *g, problem *p)
{
	size_t n = (size_t)g->params.n;
	g->choices = calloc(g->n_prompts * n, sizeof *g->choices);
	if (!g->choices)
		return problem_set(p, 500, NULL, NULL, "out of memory");
	g->n_choices = g->n_prompts * n;
	for (size_t i = 0; i < g->n_choices; i++) {
		choice *c = &g->choices[i];
		const char *text = g->prompts[i / n].text;
		bool chat = g->use == PARAMS_CHAT && (!g->grammar || (g->has_tools && g->params.tool_choice == TOOLS_AUTO));
		const evn_answer_options o = {
			.stops = g->params.stops,
			.n_stops = g->params.n_stops,
			.reasoning_apart = chat,
			.starts_reasoning = chat && text && evn_chat_opens_reasoning(text),
			.marks = g->has_tools,
			.channels = g->has_tools && g->tool_style == EVN_TOOLS_HARMONY,
		};
		evn_error e = {0};
		c->of = g;
		c->index = i;
		c->tools.style = g->tool_style;
		if (evn_answer_create(&c->answer, g->x->served->m.model, &o, &e) != EVN_OK)
			return problem_from(p, "stop", &e);
		if (g->params.echo)
			buffer_text(&c->content, text);
	}
	return true;
}

/* Makes the form of the answer from the tools. A template that writes calls in a way that is not known gets the
 * tools, and calls stay text. */
static bool use_tools(generation *g, problem *p)
{
	const catalog *c = &g->x->server->catalog;
	params *o = &g->params;
	if (!params_has_tools(o))
		return true;
	g->tool_style = evn_chat_tool_style(g->x->served->m.model, &c->options.chat);
	if (g->tool_style == EVN_TOOLS_OTHER)
		return o->tool_choice == TOOLS_AUTO ||
			   problem_set(
				   p, 400, "unsupported_value", "tool_choice",
				   "tool_choice: expected \"none\" or \"auto\": calls of this chat template cannot be forced");
	o->grammar = tools_grammar(o, g->tool_style, p);
	o->grammar_kind = EVN_GRAMMAR_TOOLS;
	o->has_grammar = g->has_tools = o->grammar != NULL;
	return o->grammar != NULL;
}

/* The vocabulary is made for the first request that needs it. */
static bool make_grammar(generation *g, problem *p)
{
	catalog *c = &g->x->server->catalog;
	served_model *m = g->x->served;
	const params *o = &g->params;
	evn_error e = {0};
	evn_status status = EVN_OK;
	if (!o->has_grammar)
		return true;
	pthread_mutex_lock(&c->lock);
	if (!m->vocabulary)
		status = evn_vocabulary_create(&m->vocabulary, m->m.model, &e);
	pthread_mutex_unlock(&c->lock);
	if (status == EVN_OK)
		status = evn_grammar_create(&g->grammar, m->vocabulary, o->grammar_kind, o->grammar,
									o->grammar ? strlen(o->grammar) : 0, &e);
	if (status == EVN_ERR_UNSUPPORTED)
		return problem_set(p, 400, "unsupported_value", params_grammar_field(o), "%s", e.text);
	return status == EVN_OK || problem_from(p, params_grammar_field(o), &e);
}

static void name_answer(generation *g)
{
	uint64_t random = 0;
	if (getrandom(&random, sizeof random, GRND_NONBLOCK) != (ssize_t)sizeof random)
		random = evn_now_ns();
	snprintf(g->id, sizeof g->id, "%s-%016llx",
			 g->shape                ? g->shape->id
			 : g->use == PARAMS_CHAT ? "chatcmpl"
									 : "cmpl",
			 (unsigned long long)random);
	g->created = (int64_t)time(NULL);
}

json_t *shape_as_chat(const answer_shape *shape, json_t *root, problem *p)
{
	json_t *chat = json_object();
	*p = (problem){0};
	if (chat && shape->fill_chat(chat, root, p))
		return chat;
	json_decref(chat);
	if (!p->status)
		problem_set(p, 500, NULL, NULL, "out of memory");
	return NULL;
}

/* The JSON is freed here: a small body can become a large one, and the answer may take long. */
static bool prepare(generation *g, problem *p)
{
	exchange *x = g->x;
	json_t *root = NULL, *chat = NULL;
	name_answer(g);
	bool ok = fields_parse(&root, x->body.data, x->body.used, p);
	if (ok && g->shape && g->shape->required && !json_object_get(root, g->shape->required))
		ok = problem_set(p, 400, NULL, g->shape->required, "%s: expected a value, found nothing", g->shape->required);
	if (ok && g->shape)
		ok = (chat = shape_as_chat(g->shape, root, p)) != NULL;
	ok = ok && params_read(&g->params, g->use, chat ? chat : root, &x->server->catalog.options.sampling, p) &&
		 catalog_check(x, g->params.model, p) && use_tools(g, p) && make_grammar(g, p) && prompts_make(g, p) &&
		 make_choices(g, p);
	params_forget(&g->params);
	json_decref(chat);
	json_decref(root);
	return ok;
}

/* The HTTP thread gets the answer from here: now as a stream, or whole when the requests have ended. */
static void start_answer(generation *g)
{
	exchange *x = g->x;
	pthread_mutex_lock(&x->lock);
	if (g->params.stream) {
		x->read = answer_read;
		x->reply.status = 200;
		x->reply.type = "text/event-stream";
	} else {
		x->compose = answer_compose;
	}
	g->started = true;
	g->n_running--;
	if (g->params.stream || generation_ended(g))
		exchange_wake(x);
	pthread_mutex_unlock(&x->lock);
}

bool generation_begin(exchange *x, params_use use, const answer_shape *shape)
{
	problem p = {0};
	generation *g = calloc(1, sizeof *g);
	bool ok = g != NULL || problem_set(&p, 500, NULL, NULL, "out of memory");
	if (ok) {
		*g = (generation){.x = x, .use = use, .shape = shape, .n_running = 1};
		ok = prepare(g, &p);
		pthread_mutex_lock(&x->lock);
		x->generation = g; /* from here on it is cancelled with the exchange */
		pthread_mutex_unlock(&x->lock);
	}
	if (ok && submit_all(g, true, &p)) {
		start_answer(g);
		return false;
	}
	if (g)
		generation_cancel(g);
	if (shape)
		reply_json(&x->reply, p.status, shape->problem(&p));
	else
		reply_problem(&x->reply, &p);
	return true;
}

bool endpoint_completions(exchange *x) { return generation_begin(x, PARAMS_COMPLETION, NULL); }

bool endpoint_chat(exchange *x) { return generation_begin(x, PARAMS_CHAT, NULL); }

void generation_free(generation *g)
{
	if (!g)
		return;
	for (size_t i = 0; i < g->n_choices; i++) {
		choice *c = &g->choices[i];
		evn_request_free(c->request);
		evn_answer_free(c->answer);
		tools_free(&c->tools);
		buffer_free(&c->content);
		buffer_free(&c->reasoning);
		free(c->drawn);
	}
	for (size_t i = 0; i < g->n_prompts; i++) {
		free(g->prompts[i].ids);
		free(g->prompts[i].text);
	}
	evn_grammar_free(g->grammar);
	free(g->choices);
	free(g->prompts);
	buffer_free(&g->out);
	buffer_free(&g->so_far);
	json_decref(g->items);
	params_free(&g->params);
	free(g);
}
