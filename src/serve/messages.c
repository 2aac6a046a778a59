/* messages.c - see messages.h. An answer is a list of blocks: thinking, text, calls of tools. */
#include "serve/messages.h"
#include "serve/endpoints.h"
#include "serve/server.h"

#include <stdlib.h>
#include <string.h>

/* ---- the request ----------------------------------------------------------------------------------------------- */

/* The text of a string or of text blocks. NULL: p says why. */
static json_t *text_of(json_t *content, const char *name, problem *p)
{
	json_t *block, *text = NULL;
	size_t i;
	buffer b = {0};
	if (json_is_string(content))
		return json_incref(content);
	json_array_foreach(content, i, block)
	{
		const char *words = json_string_value(json_object_get(block, "text"));
		if (!fields_is_type(block, "text") || !words) {
			fields_wrong(p, name, "text", block);
			buffer_free(&b);
			return NULL;
		}
		buffer_text(&b, b.used ? "\n" : "");
		buffer_text(&b, words);
	}
	if (!json_is_array(content))
		fields_wrong(p, name, "a string or an array of blocks", content);
	else if (!b.failed)
		text = json_stringn(b.data ? b.data : "", b.used);
	buffer_free(&b);
	return text;
}

static json_t *call_of(json_t *block)
{
	json_t *input = json_object_get(block, "input");
	char *arguments = json_dumps(input ? input : json_null(), JSON_COMPACT | JSON_ENCODE_ANY);
	json_t *call =
		json_pack("{s:O?, s:s, s:{s:O?, s:s}}", "id", json_object_get(block, "id"), "type", "function", "function",
				  "name", json_object_get(block, "name"), "arguments", arguments ? arguments : "{}");
	free(arguments);
	return call;
}

static bool add_result(json_t *to, json_t *block, problem *p)
{
	json_t *content = json_object_get(block, "content");
	json_t *text = content ? text_of(content, "messages", p) : json_string("");
	return text && json_array_append_new(to, json_pack("{s:s, s:O?, s:o}", "role", "tool", "tool_call_id",
													   json_object_get(block, "tool_use_id"), "content", text)) == 0;
}

/* Blocks of a message become a message with text and calls, and one for each result, which comes first. */
static bool add_blocks(json_t *to, json_t *role, json_t *blocks, problem *p)
{
	json_t *texts = json_array(), *calls = json_array(), *block;
	size_t i;
	bool ok = true;
	json_array_foreach(blocks, i, block)
	{
		if (fields_is_type(block, "text"))
			json_array_append(texts, block);
		else if (fields_is_type(block, "tool_use"))
			json_array_append_new(calls, call_of(block));
		else if (fields_is_type(block, "tool_result"))
			ok = ok && add_result(to, block, p);
		else if (!fields_is_type(block, "thinking") && !fields_is_type(block, "redacted_thinking"))
			ok = ok && fields_wrong(p, "messages", "blocks of text, tool_use, tool_result or thinking", block);
	}
	json_t *text = ok && (json_array_size(texts) || json_array_size(calls)) ? text_of(texts, "messages", p) : NULL;
	if (text) {
		json_t *message = json_pack("{s:O, s:o}", "role", role, "content", text);
		if (json_array_size(calls))
			json_object_set(message, "tool_calls", calls);
		json_array_append_new(to, message);
	}
	json_decref(texts);
	json_decref(calls);
	return ok;
}

static bool add_messages(json_t *to, json_t *messages, problem *p)
{
	json_t *message;
	size_t i;
	if (!json_is_array(messages) || !json_array_size(messages))
		return fields_wrong(p, "messages", "an array of messages", messages ? messages : json_null());
	json_array_foreach(messages, i, message)
	{
		json_t *role = json_object_get(message, "role"), *content = json_object_get(message, "content");
		if (!json_is_string(role))
			return fields_wrong(p, "messages", "messages with a role", message);
		if (json_is_array(content) ? !add_blocks(to, role, content, p) : json_array_append(to, message) != 0)
			return false;
	}
	return true;
}

static bool add_tools(json_t *chat, json_t *tools, problem *p)
{
	json_t *list = json_array(), *tool;
	size_t i;
	json_object_set_new(chat, "tools", list);
	json_array_foreach(tools, i, tool)
	{
		json_t *name = json_object_get(tool, "name"), *about = json_object_get(tool, "description");
		if (!json_is_string(name) || !json_is_object(json_object_get(tool, "input_schema")))
			return fields_wrong(p, "tools", "tools with a name and an input_schema", tool);
		json_array_append_new(list,
							  json_pack("{s:s, s:{s:O, s:O*, s:O}}", "type", "function", "function", "name", name,
										"description", about, "parameters", json_object_get(tool, "input_schema")));
	}
	return true;
}

static bool add_choice(json_t *chat, json_t *asked, problem *p)
{
	json_t *name = json_object_get(asked, "name");
	if (json_is_true(json_object_get(asked, "disable_parallel_tool_use")))
		json_object_set_new(chat, "parallel_tool_calls", json_false());
	if (fields_is_type(asked, "tool") && json_is_string(name))
		return json_object_set_new(chat, "tool_choice",
								   json_pack("{s:s, s:{s:O}}", "type", "function", "function", "name", name)) == 0;
	if (!fields_is_type(asked, "auto") && !fields_is_type(asked, "any") && !fields_is_type(asked, "none"))
		return fields_wrong(p, "tool_choice", "an object with the type auto, any, tool or none", asked);
	return json_object_set_new(chat, "tool_choice",
							   fields_is_type(asked, "any") ? json_string("required")
															: json_incref(json_object_get(asked, "type"))) == 0;
}

static bool fill_chat(json_t *chat, json_t *root, problem *p)
{
	static const char *const same[][2] = {
		{"model", "model"}, {"max_tokens", "max_tokens"}, {"stream", "stream"},      {"temperature", "temperature"},
		{"top_p", "top_p"}, {"top_k", "top_k"},           {"stop_sequences", "stop"}};
	json_t *messages = json_array(), *system = json_object_get(root, "system");
	json_t *tools = json_object_get(root, "tools"), *asked = json_object_get(root, "tool_choice");
	json_object_set_new(chat, "messages", messages);
	for (size_t i = 0; i < sizeof same / sizeof *same; i++)
		if (json_object_get(root, same[i][0]))
			json_object_set(chat, same[i][1], json_object_get(root, same[i][0]));
	if (system && !json_is_null(system)) {
		json_t *text = text_of(system, "system", p);
		if (!text)
			return false;
		json_array_append_new(messages, json_pack("{s:s, s:o}", "role", "system", "content", text));
	}
	return add_messages(messages, json_object_get(root, "messages"), p) &&
		   (!json_array_size(tools) || add_tools(chat, tools, p)) &&
		   (!asked || json_is_null(asked) || add_choice(chat, asked, p));
}

/* ---- the answer ------------------------------------------------------------------------------------------------ */

static json_t *shaped_problem(const problem *p)
{
	json_t *root = problem_json(p);
	if (root)
		json_object_set_new(root, "type", json_string("error"));
	if (root && p->status >= 500)
		json_object_set_new(json_object_get(root, "error"), "type", json_string("api_error"));
	return root;
}

static json_t *taken(buffer *b)
{
	json_t *text = reply_text(b->data ? b->data : "", b->used);
	buffer_remove(b, b->used);
	return text;
}

static const char *reason(const choice *c)
{
	if (strcmp(c->finish, "tool_calls") == 0)
		return "tool_use";
	return strcmp(c->finish, "length") == 0 ? "max_tokens" : c->stopped ? "stop_sequence" : "end_turn";
}

/* input: that of the call, or NULL for an empty one that a stream fills. */
static json_t *call_block(json_t *call, json_t *input)
{
	json_t *function = json_object_get(call, "function");
	return json_pack("{s:s, s:O, s:O, s:o}", "type", "tool_use", "id", json_object_get(call, "id"), "name",
					 json_object_get(function, "name"), "input", input ? input : json_object());
}

static const char *arguments_of(json_t *call)
{
	return json_string_value(json_object_get(json_object_get(call, "function"), "arguments"));
}

static json_t *message(const generation *g, json_t *content, const char *stop, size_t n_tokens)
{
	return json_pack("{s:s, s:s, s:s, s:s, s:o, s:s?, s:n, s:{s:I, s:I}}", "id", g->id, "type", "message", "role",
					 "assistant", "model", g->x->served->name, "content", content, "stop_reason", stop,
					 "stop_sequence", "usage", "input_tokens", (json_int_t)g->prompts[0].n, "output_tokens",
					 (json_int_t)n_tokens);
}

static json_t *whole(generation *g)
{
	choice *c = &g->choices[0];
	json_t *content = json_array(), *calls = tools_take(&c->tools), *call;
	size_t i;
	if (c->reasoning.used)
		json_array_append_new(content, json_pack("{s:s, s:o, s:s}", "type", "thinking", "thinking",
												 taken(&c->reasoning), "signature", ""));
	if (c->content.used)
		json_array_append_new(content, json_pack("{s:s, s:o}", "type", "text", "text", taken(&c->content)));
	json_array_foreach(calls, i, call)
		json_array_append_new(content, call_block(call, json_loads(arguments_of(call), 0, NULL)));
	json_decref(calls);
	return message(g, content, reason(c), c->n_tokens);
}

/* ---- as a stream ----------------------------------------------------------------------------------------------- */

static void say(generation *g, const char *type, json_t *event)
{
	json_object_set_new(event, "type", json_string(type));
	buffer_print(&g->out, "event: %s\n", type);
	reply_event(&g->out, event);
}

static void close_block(generation *g)
{
	if (g->block)
		say(g, "content_block_stop", json_pack("{s:I}", "index", (json_int_t)g->n_blocks++));
	g->block = NULL;
}

/* Goes on with the block of this type, or begins it. block: owned. */
static void open_block(generation *g, const char *type, json_t *block)
{
	if (g->block && strcmp(g->block, type) == 0) {
		json_decref(block);
		return;
	}
	close_block(g);
	g->block = type;
	say(g, "content_block_start", json_pack("{s:I, s:o}", "index", (json_int_t)g->n_blocks, "content_block", block));
}

static void add_delta(generation *g, const char *type, const char *key, json_t *text)
{
	say(g, "content_block_delta",
		json_pack("{s:I, s:{s:s, s:o}}", "index", (json_int_t)g->n_blocks, "delta", "type", type, key, text));
}

static void add_parts(generation *g, choice *c)
{
	json_t *calls = tools_take(&c->tools), *call;
	size_t i;
	if (c->reasoning.used) {
		open_block(g, "thinking", json_pack("{s:s, s:s, s:s}", "type", "thinking", "thinking", "", "signature", ""));
		add_delta(g, "thinking_delta", "thinking", taken(&c->reasoning));
	}
	if (c->content.used) {
		open_block(g, "text", json_pack("{s:s, s:s}", "type", "text", "text", ""));
		add_delta(g, "text_delta", "text", taken(&c->content));
	}
	json_array_foreach(calls, i, call)
	{
		close_block(g);
		open_block(g, "tool_use", call_block(call, NULL));
		add_delta(g, "input_json_delta", "partial_json", json_string(arguments_of(call)));
	}
	json_decref(calls);
}

static void add_news(generation *g)
{
	choice *c = &g->choices[0];
	if (!c->began && !g->failure.status) {
		c->began = true;
		say(g, "message_start", json_pack("{s:o}", "message", message(g, json_array(), NULL, 0)));
	}
	if (!g->failure.status)
		add_parts(g, c);
	if (!generation_ended(g))
		return;
	if (g->failure.status) {
		buffer_text(&g->out, "event: error\n");
		reply_event(&g->out, shaped_problem(&g->failure));
	} else {
		close_block(g);
		say(g, "message_delta",
			json_pack("{s:{s:s, s:n}, s:{s:I}}", "delta", "stop_reason", reason(c), "stop_sequence", "usage",
					  "output_tokens", (json_int_t)c->n_tokens));
		say(g, "message_stop", json_object());
	}
	g->said_all = true;
}

const answer_shape messages_shape = {.id = "msg",
									 .required = "max_tokens",
									 .fill_chat = fill_chat,
									 .problem = shaped_problem,
									 .whole = whole,
									 .add_news = add_news};

bool endpoint_messages(exchange *x) { return generation_begin(x, PARAMS_CHAT, &messages_shape); }

/* ---- how many tokens ------------------------------------------------------------------------------------------- */

bool endpoint_count_tokens(exchange *x)
{
	problem p = {0};
	params o = {0};
	prompt made = {0};
	json_t *root = NULL, *chat = NULL;
	bool ok = fields_parse(&root, x->body.data, x->body.used, &p) &&
			  (chat = shape_as_chat(&messages_shape, root, &p)) != NULL &&
			  params_read(&o, PARAMS_CHAT, chat, &x->server->catalog.options.sampling, &p) &&
			  catalog_check(x, o.model, &p) && chat_make(x, &o, &made, &p);
	reply_json(&x->reply, ok ? 200 : p.status,
			   ok ? json_pack("{s:I}", "input_tokens", (json_int_t)made.n) : shaped_problem(&p));
	params_free(&o);
	free(made.ids);
	free(made.text);
	json_decref(chat);
	json_decref(root);
	return true;
}
