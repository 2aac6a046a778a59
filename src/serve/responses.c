/* responses.c - see responses.h. An answer is a list of items: reasoning, a message, calls of functions. */
#include "serve/responses.h"
#include "serve/endpoints.h"
#include "serve/server.h"

#include <stdlib.h>
#include <string.h>

/* ---- the request ----------------------------------------------------------------------------------------------- */

/* The text of a string or of parts with text. NULL: p says why. */
static json_t *text_of(json_t *content, const char *name, problem *p)
{
	json_t *part, *text = NULL;
	size_t i;
	buffer b = {0};
	if (json_is_string(content))
		return json_incref(content);
	json_array_foreach(content, i, part)
	{
		const char *words = json_string_value(json_object_get(part, "text"));
		if (!words) {
			fields_wrong(p, name, "parts with text", part);
			buffer_free(&b);
			return NULL;
		}
		buffer_text(&b, words);
	}
	if (!json_is_array(content))
		fields_wrong(p, name, "a string or an array of parts", content ? content : json_null());
	else if (!b.failed)
		text = json_stringn(b.data ? b.data : "", b.used);
	buffer_free(&b);
	return text;
}

static bool add_message(json_t *to, json_t *item, problem *p)
{
	json_t *role = json_object_get(item, "role"), *text;
	const char *word = json_string_value(role);
	if (!word)
		return fields_wrong(p, "input", "messages with a role", item);
	text = text_of(json_object_get(item, "content"), "input", p);
	return text &&
		   json_array_append_new(to, json_pack("{s:s, s:o}", "role", strcmp(word, "developer") == 0 ? "system" : word,
											   "content", text)) == 0;
}

/* Calls that follow each other belong to one message, which may have begun with a text. */
static bool add_call(json_t *to, json_t *item, problem *p)
{
	json_t *name = json_object_get(item, "name"), *arguments = json_object_get(item, "arguments");
	json_t *message = json_array_get(to, json_array_size(to) - 1), *calls;
	const char *role = json_string_value(json_object_get(message, "role"));
	if (!json_is_string(name) || !json_is_string(arguments))
		return fields_wrong(p, "input", "a function_call with a name and arguments", item);
	if (!role || strcmp(role, "assistant") != 0) {
		message = json_pack("{s:s, s:s}", "role", "assistant", "content", "");
		json_array_append_new(to, message);
	}
	calls = json_object_get(message, "tool_calls");
	if (!calls)
		json_object_set_new(message, "tool_calls", calls = json_array());
	return json_array_append_new(calls, json_pack("{s:O?, s:s, s:{s:O, s:O}}", "id", json_object_get(item, "call_id"),
												  "type", "function", "function", "name", name, "arguments",
												  arguments)) == 0;
}

static bool add_item(json_t *to, json_t *item, problem *p)
{
	if (fields_is_type(item, "function_call"))
		return add_call(to, item, p);
	if (fields_is_type(item, "function_call_output")) {
		json_t *text = text_of(json_object_get(item, "output"), "input", p);
		return text && json_array_append_new(to, json_pack("{s:s, s:O?, s:o}", "role", "tool", "tool_call_id",
														   json_object_get(item, "call_id"), "content", text)) == 0;
	}
	if (fields_is_type(item, "reasoning")) /* the model does not get it back */
		return true;
	if (fields_is_type(item, "message") || !json_object_get(item, "type"))
		return add_message(to, item, p);
	return fields_wrong(p, "input", "items of the type message, function_call, function_call_output or reasoning",
						item);
}

static bool add_input(json_t *chat, json_t *root, problem *p)
{
	json_t *messages = json_array(), *input = json_object_get(root, "input"), *item;
	json_t *instructions = json_object_get(root, "instructions");
	size_t i;
	json_object_set_new(chat, "messages", messages);
	if (json_is_string(instructions))
		json_array_append_new(messages, json_pack("{s:s, s:O}", "role", "system", "content", instructions));
	else if (instructions && !json_is_null(instructions))
		return fields_wrong(p, "instructions", "a string", instructions);
	if (json_is_string(input))
		return json_array_append_new(messages, json_pack("{s:s, s:O}", "role", "user", "content", input)) == 0;
	if (!json_array_size(input))
		return fields_wrong(p, "input", "a string or an array of items", input ? input : json_null());
	json_array_foreach(input, i, item) if (!add_item(messages, item, p)) return false;
	return true;
}

static bool add_tools(json_t *chat, json_t *tools, problem *p)
{
	json_t *list = json_array(), *tool;
	size_t i;
	json_object_set_new(chat, "tools", list);
	if (!json_is_array(tools))
		return fields_wrong(p, "tools", "an array of functions", tools);
	json_array_foreach(tools, i, tool)
	{
		if (!fields_is_type(tool, "function") || !json_is_string(json_object_get(tool, "name")))
			return fields_wrong(p, "tools", "functions with a name", tool);
		json_array_append_new(list, json_pack("{s:s, s:{s:O, s:O*, s:O*, s:O*}}", "type", "function", "function",
											  "name", json_object_get(tool, "name"), "description",
											  json_object_get(tool, "description"), "parameters",
											  json_object_get(tool, "parameters"), "strict",
											  json_object_get(tool, "strict")));
	}
	return true;
}

static void add_choice(json_t *chat, json_t *asked)
{
	json_t *name = json_object_get(asked, "name");
	if (json_is_string(name))
		json_object_set_new(chat, "tool_choice",
							json_pack("{s:s, s:{s:O}}", "type", "function", "function", "name", name));
	else if (asked)
		json_object_set(chat, "tool_choice", asked);
}

static bool fill_chat(json_t *chat, json_t *root, problem *p)
{
	static const char *const same[][2] = {{"model", "model"},   {"max_output_tokens", "max_tokens"},
										  {"stream", "stream"}, {"temperature", "temperature"},
										  {"top_p", "top_p"},   {"parallel_tool_calls", "parallel_tool_calls"}};
	json_t *before = json_object_get(root, "previous_response_id"), *tools = json_object_get(root, "tools");
	json_t *format = json_object_get(json_object_get(root, "text"), "format");
	if (before && !json_is_null(before))
		return problem_set(p, 400, "unsupported_value", "previous_response_id",
						   "previous_response_id: expected the whole conversation in input: responses are not kept");
	for (size_t i = 0; i < sizeof same / sizeof *same; i++)
		if (json_object_get(root, same[i][0]))
			json_object_set(chat, same[i][1], json_object_get(root, same[i][0]));
	if (format)
		json_object_set(chat, "response_format", format);
	add_choice(chat, json_object_get(root, "tool_choice"));
	return add_input(chat, root, p) && (!tools || json_is_null(tools) || add_tools(chat, tools, p));
}

/* ---- items ----------------------------------------------------------------------------------------------------- */

static json_t *text_part(const char *type, json_t *text)
{
	return json_pack("{s:s, s:o, s:[], s:[]}", "type", type, "text", text, "annotations", "logprobs");
}

/* The id of the item that is open, or comes next. */
static const char *item_id(const generation *g, const char *prefix, char *to, size_t size)
{
	snprintf(to, size, "%s%s-%zu", prefix, strchr(g->id, '-'), json_array_size(g->items));
	return to;
}

/* text: owned; NULL: the item is only begun. */
static json_t *message_item(const generation *g, json_t *text)
{
	char id[64];
	return json_pack("{s:s, s:s, s:s, s:s, s:o}", "type", "message", "id", item_id(g, "msg", id, sizeof id), "role",
					 "assistant", "status", text ? "completed" : "in_progress", "content",
					 text ? json_pack("[o]", text_part("output_text", text)) : json_array());
}

static json_t *reasoning_item(const generation *g, json_t *text)
{
	char id[64];
	return json_pack("{s:s, s:s, s:[], s:s, s:o}", "type", "reasoning", "id", item_id(g, "rs", id, sizeof id),
					 "summary", "status", text ? "completed" : "in_progress", "content",
					 text ? json_pack("[{s:s, s:o}]", "type", "reasoning_text", "text", text) : json_array());
}

static json_t *call_item(const generation *g, json_t *call, bool begun)
{
	char id[64];
	json_t *function = json_object_get(call, "function");
	return json_pack("{s:s, s:s, s:O, s:O, s:o, s:s}", "type", "function_call", "id", item_id(g, "fc", id, sizeof id),
					 "call_id", json_object_get(call, "id"), "name", json_object_get(function, "name"), "arguments",
					 begun ? json_string("") : json_incref(json_object_get(function, "arguments")), "status",
					 begun ? "in_progress" : "completed");
}

/* ---- the answer ------------------------------------------------------------------------------------------------ */

static json_t *usage_of(const generation *g)
{
	const choice *c = &g->choices[0];
	return json_pack("{s:I, s:{s:I}, s:I, s:{s:i}, s:I}", "input_tokens", (json_int_t)g->prompts[0].n,
					 "input_tokens_details", "cached_tokens", (json_int_t)c->n_cached, "output_tokens",
					 (json_int_t)c->n_tokens, "output_tokens_details", "reasoning_tokens", 0, "total_tokens",
					 (json_int_t)(g->prompts[0].n + c->n_tokens));
}

/* The request's instructions and tools are not repeated in it. */
static json_t *response(const generation *g, const char *status)
{
	static const char *const choices[] = {
		[TOOLS_AUTO] = "auto", [TOOLS_NONE] = "none", [TOOLS_REQUIRED] = "required"};
	const params *o = &g->params;
	const bool ended = strcmp(status, "in_progress") != 0, cut = strcmp(status, "incomplete") == 0;
	json_t *root = json_pack(
		"{s:s, s:s, s:I, s:s, s:s, s:n, s:o, s:n, s:O, s:b, s:f, s:f, s:s, s:[], s:{}, s:b, s:n}", "id", g->id,
		"object", "response", "created_at", (json_int_t)g->created, "model", g->x->served->name, "status", status,
		"error", "incomplete_details", cut ? json_pack("{s:s}", "reason", "max_output_tokens") : json_null(),
		"instructions", "output", g->items, "parallel_tool_calls", o->parallel_tools, "temperature", o->temperature,
		"top_p", o->top_p, "tool_choice", choices[o->tool_choice], "tools", "metadata", "store", false,
		"previous_response_id");
	if (root && o->max_tokens)
		json_object_set_new(root, "max_output_tokens", json_integer((json_int_t)o->max_tokens));
	if (root && ended)
		json_object_set_new(root, "usage", usage_of(g));
	return root;
}

static const char *status_of(const choice *c)
{
	return strcmp(c->finish, "length") == 0 ? "incomplete" : "completed";
}

static json_t *taken(buffer *b)
{
	json_t *text = reply_text(b->data ? b->data : "", b->used);
	buffer_remove(b, b->used);
	return text;
}

static json_t *whole(generation *g)
{
	choice *c = &g->choices[0];
	json_t *calls = tools_take(&c->tools), *call;
	size_t i;
	g->items = json_array();
	if (c->reasoning.used)
		json_array_append_new(g->items, reasoning_item(g, taken(&c->reasoning)));
	if (c->content.used || !json_array_size(calls))
		json_array_append_new(g->items, message_item(g, taken(&c->content)));
	json_array_foreach(calls, i, call) json_array_append_new(g->items, call_item(g, call, false));
	json_decref(calls);
	return response(g, status_of(c));
}

/* ---- as a stream ----------------------------------------------------------------------------------------------- */

static void say(generation *g, const char *type, json_t *event)
{
	json_object_set_new(event, "type", json_string(type));
	json_object_set_new(event, "sequence_number", json_integer((json_int_t)g->n_events++));
	buffer_print(&g->out, "event: %s\n", type);
	reply_event(&g->out, event);
}

/* An event of the item that is open; it gets more: owned. */
static void say_of_item(generation *g, const char *type, json_t *more)
{
	char id[64];
	const char *prefix = g->block && strcmp(g->block, "message") == 0 ? "msg" : g->block ? "rs" : "fc";
	json_t *event = json_pack("{s:s, s:I}", "item_id", item_id(g, prefix, id, sizeof id), "output_index",
							  (json_int_t)json_array_size(g->items));
	json_object_update(event, more);
	json_decref(more);
	say(g, type, event);
}

static void say_item(generation *g, const char *type, json_t *item)
{
	say(g, type, json_pack("{s:I, s:o}", "output_index", (json_int_t)json_array_size(g->items), "item", item));
}

/* item: owned; it is complete. */
static void end_item(generation *g, json_t *item)
{
	say_item(g, "response.output_item.done", json_incref(item));
	json_array_append_new(g->items, item);
	g->block = NULL;
}

static void close_item(generation *g)
{
	if (!g->block)
		return;
	json_t *text = reply_text(g->so_far.data ? g->so_far.data : "", g->so_far.used);
	const bool is_message = strcmp(g->block, "message") == 0;
	buffer_remove(&g->so_far, g->so_far.used);
	say_of_item(g, is_message ? "response.output_text.done" : "response.reasoning_text.done",
				json_pack("{s:i, s:O, s:[]}", "content_index", 0, "text", text, "logprobs"));
	if (is_message)
		say_of_item(g, "response.content_part.done",
					json_pack("{s:i, s:o}", "content_index", 0, "part", text_part("output_text", json_incref(text))));
	end_item(g, is_message ? message_item(g, text) : reasoning_item(g, text));
}

/* Goes on with the item of this type, or begins it. */
static void open_item(generation *g, const char *type)
{
	if (g->block && strcmp(g->block, type) == 0)
		return;
	close_item(g);
	g->block = type;
	const bool is_message = strcmp(type, "message") == 0;
	say_item(g, "response.output_item.added", is_message ? message_item(g, NULL) : reasoning_item(g, NULL));
	if (is_message)
		say_of_item(g, "response.content_part.added",
					json_pack("{s:i, s:o}", "content_index", 0, "part", text_part("output_text", json_string(""))));
}

static void add_text(generation *g, const char *type, buffer *text)
{
	open_item(g, type);
	buffer_add(&g->so_far, text->data, text->used);
	say_of_item(g, strcmp(type, "message") == 0 ? "response.output_text.delta" : "response.reasoning_text.delta",
				json_pack("{s:i, s:o, s:[]}", "content_index", 0, "delta", taken(text), "logprobs"));
}

/* A call comes whole. */
static void add_whole_call(generation *g, json_t *call)
{
	json_t *arguments = json_object_get(json_object_get(call, "function"), "arguments");
	close_item(g);
	say_item(g, "response.output_item.added", call_item(g, call, true));
	say_of_item(g, "response.function_call_arguments.delta", json_pack("{s:O}", "delta", arguments));
	say_of_item(g, "response.function_call_arguments.done",
				json_pack("{s:O, s:O}", "arguments", arguments, "name",
						  json_object_get(json_object_get(call, "function"), "name")));
	end_item(g, call_item(g, call, false));
}

static void add_parts(generation *g, choice *c)
{
	json_t *calls = tools_take(&c->tools), *call;
	size_t i;
	if (c->reasoning.used)
		add_text(g, "reasoning", &c->reasoning);
	if (c->content.used)
		add_text(g, "message", &c->content);
	json_array_foreach(calls, i, call) add_whole_call(g, call);
	json_decref(calls);
}

static void say_end(generation *g, choice *c)
{
	if (g->failure.status) {
		json_t *root = problem_json(&g->failure);
		json_t *error = json_incref(json_object_get(root, "error"));
		json_decref(root);
		say(g, "error", error);
		return;
	}
	if (!g->block && !json_array_size(g->items)) /* an empty answer is a message, too */
		open_item(g, "message");
	close_item(g);
	const char *status = status_of(c);
	say(g, strcmp(status, "completed") == 0 ? "response.completed" : "response.incomplete",
		json_pack("{s:o}", "response", response(g, status)));
}

static void add_news(generation *g)
{
	choice *c = &g->choices[0];
	if (!c->began) {
		c->began = true;
		g->items = json_array();
		say(g, "response.created", json_pack("{s:o}", "response", response(g, "in_progress")));
		say(g, "response.in_progress", json_pack("{s:o}", "response", response(g, "in_progress")));
	}
	if (!g->failure.status)
		add_parts(g, c);
	if (!generation_ended(g))
		return;
	say_end(g, c);
	g->said_all = true;
}

const answer_shape responses_shape = {
	.id = "resp", .fill_chat = fill_chat, .problem = problem_json, .whole = whole, .add_news = add_news};

bool endpoint_responses(exchange *x) { return generation_begin(x, PARAMS_CHAT, &responses_shape); }
