/* tools.c - see tools.h. Hermes writes <tool_call>{"name": ..., "arguments": {...}}</tool_call>, and so come the
 * calls of gpt-oss here. Llama 3 answers with {"name": ..., "parameters": {...}} and nothing else. Mistral's calls
 * follow [TOOL_CALLS] at the end. */
#include "serve/tools.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define OPENING "<tool_call>"
#define CLOSING "</tool_call>"
#define LIST "[TOOL_CALLS]"
#define ARGUMENTS "[ARGS]"
#define PYTHON "<|python_tag|>"
#define ID_CHARACTERS 9 /* of Mistral's ids; its templates refuse others */

static json_t *function_of(json_t *tool)
{
	json_t *function = json_object_get(tool, "function");
	return json_is_string(json_object_get(function, "name")) ? function : NULL;
}

char *tools_grammar(const params *o, evn_tool_style style, problem *p)
{
	json_t *list = json_array(), *tool;
	size_t i;
	json_array_foreach(o->tools, i, tool)
	{
		json_t *function = function_of(tool);
		if (!function) {
			json_decref(list);
			fields_wrong(p, "tools", "functions with names", tool);
			return NULL;
		}
		if (!o->tool_name || strcmp(o->tool_name, json_string_value(json_object_get(function, "name"))) == 0)
			json_array_append(list, function);
	}
	if (json_array_size(list) == 0) {
		json_decref(list);
		problem_set(p, 400, NULL, "tool_choice", "tool_choice: expected one of the tools, found '%.64s'",
					o->tool_name);
		return NULL;
	}
	static const char *const forms[] = {
		[EVN_TOOLS_UNKNOWN] = "hermes",  [EVN_TOOLS_HERMES] = "hermes",   [EVN_TOOLS_LLAMA] = "llama",
		[EVN_TOOLS_MISTRAL] = "mistral", [EVN_TOOLS_HARMONY] = "harmony", [EVN_TOOLS_MISTRAL_ARGS] = "mistral-args"};
	json_t *root = json_pack("{s:o, s:s, s:b, s:b}", "tools", list, "form", forms[style], "free",
							 o->tool_choice == TOOLS_AUTO, "parallel", o->parallel_tools && !o->tool_name);
	char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
	json_decref(root);
	if (!text)
		problem_set(p, 500, NULL, NULL, "out of memory");
	return text;
}

/* ---- for templates that know no tools -------------------------------------------------------------------------- */

static const char
	introduction[] = "You may call functions to answer the user. These are their signatures:\n<tools>",
	instructions[] =
		"\n</tools>\nFor each call return a JSON object with the function's name and arguments:\n" OPENING
		"\n{\"name\": NAME, \"arguments\": ARGUMENTS}\n" CLOSING;

static void add_json(buffer *b, json_t *value)
{
	char *text = json_dumps(value, JSON_ENCODE_ANY);
	buffer_text(b, text ? text : "null");
	free(text);
}

static void describe(buffer *b, json_t *tools)
{
	json_t *tool;
	size_t i;
	buffer_text(b, introduction);
	json_array_foreach(tools, i, tool)
	{
		buffer_text(b, "\n");
		add_json(b, tool);
	}
	buffer_text(b, instructions);
}

/* The arguments are text in the API and an object in the model's text. */
static void add_calls(buffer *b, json_t *calls)
{
	json_t *call;
	size_t i;
	json_array_foreach(calls, i, call)
	{
		json_t *function = json_object_get(call, "function"), *arguments = json_object_get(function, "arguments");
		buffer_text(b, b->used ? "\n" OPENING "\n{\"name\": " : OPENING "\n{\"name\": ");
		add_json(b, json_object_get(function, "name"));
		buffer_text(b, ", \"arguments\": ");
		if (json_is_string(arguments))
			buffer_text(b, json_string_value(arguments));
		else
			add_json(b, arguments);
		buffer_text(b, "}\n" CLOSING);
	}
}

static void add_content(buffer *b, const json_t *content)
{
	if (json_is_string(content))
		buffer_text(b, json_string_value(content));
	for (size_t i = 0; i < json_array_size(content); i++) {
		const char *text = json_string_value(json_object_get(json_array_get(content, i), "text"));
		buffer_text(b, text ? text : "");
	}
}

static json_t *as_text(json_t *message)
{
	const char *role = json_string_value(json_object_get(message, "role"));
	json_t *calls = json_object_get(message, "tool_calls");
	const bool is_result = role && strcmp(role, "tool") == 0;
	buffer b = {0};
	if (!is_result && !json_array_size(calls))
		return json_incref(message);
	if (is_result)
		buffer_text(&b, "<tool_response>\n");
	add_content(&b, json_object_get(message, "content"));
	if (is_result)
		buffer_text(&b, "\n</tool_response>");
	add_calls(&b, calls);
	json_t *made = json_pack("{s:s, s:o}", "role",
							 is_result ? "user"
							 : role    ? role
									   : "assistant",
							 "content", reply_text(b.data ? b.data : "", b.used));
	buffer_free(&b);
	return made;
}

json_t *tools_as_text(json_t *messages, json_t *tools, bool no_system)
{
	json_t *list = json_array(), *message = json_array_get(messages, 0);
	const char *role = json_string_value(json_object_get(message, "role"));
	const bool has_system = role && strcmp(role, "system") == 0;
	buffer b = {0};
	if (has_system)
		add_content(&b, json_object_get(message, "content"));
	if (tools) {
		buffer_text(&b, has_system ? "\n\n" : "");
		describe(&b, tools);
	}
	size_t next = has_system && b.used;
	const char *role_of_first = "system";
	if (no_system && b.used) {
		json_t *first = json_array_get(messages, next++);
		buffer_text(&b, "\n\n");
		add_content(&b, json_object_get(first, "content"));
		role_of_first = "user";
	}
	if (b.used)
		json_array_append_new(list,
							  json_pack("{s:s, s:o}", "role", role_of_first, "content", reply_text(b.data, b.used)));
	for (size_t i = next; i < json_array_size(messages); i++)
		json_array_append_new(list, as_text(json_array_get(messages, i)));
	const bool failed = b.failed;
	buffer_free(&b);
	if (!failed)
		return list;
	json_decref(list);
	return NULL;
}

/* ---- calls in an answer ---------------------------------------------------------------------------------------- */

/* An id that was not there before. Mistral's own counts if it is one. */
static void make_id(const tool_splitter *s, const char *own, char *out, size_t size)
{
	static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyz";
	const bool is_mistral = s->style == EVN_TOOLS_MISTRAL || s->style == EVN_TOOLS_MISTRAL_ARGS;
	unsigned long long random = 0;
	if (getrandom(&random, sizeof random, GRND_NONBLOCK) != (ssize_t)sizeof random)
		random = evn_now_ns();
	if (!is_mistral) {
		snprintf(out, size, "call_%016llx", random);
		return;
	}
	if (own && strlen(own) == ID_CHARACTERS &&
		strspn(own, "0123456789abcdefghijklmnopqrstuvwxyz"
					"ABCDEFGHIJKLMNOPQRSTUVWXYZ") == ID_CHARACTERS) {
		snprintf(out, size, "%s", own);
		return;
	}
	for (size_t i = 0; i < ID_CHARACTERS; i++, random /= sizeof digits - 1)
		out[i] = digits[random % (sizeof digits - 1)];
	out[ID_CHARACTERS] = '\0';
}

/* False if it is no call. */
static bool add_call(tool_splitter *s, json_t *call)
{
	json_t *arguments = json_object_get(call, s->style == EVN_TOOLS_LLAMA ? "parameters" : "arguments");
	const char *name = json_string_value(json_object_get(call, "name"));
	char *dumped = arguments ? json_dumps(arguments, JSON_COMPACT) : NULL;
	char id[32];
	make_id(s, json_string_value(json_object_get(call, "id")), id, sizeof id);
	if (name && dumped) {
		s->calls = s->calls ? s->calls : json_array();
		json_array_append_new(s->calls,
							  json_pack("{s:I, s:s, s:s, s:{s:s, s:s}}", "index", (json_int_t)s->n_calls++, "id", id,
										"type", "function", "function", "name", name, "arguments", dumped));
	}
	free(dumped);
	return name && arguments;
}

/* How many bytes at the end may be the beginning of the tag. */
static size_t begun(const buffer *b, const char *tag)
{
	size_t n = strlen(tag) - 1 < b->used ? strlen(tag) - 1 : b->used;
	while (n > 0 && memcmp(b->data + b->used - n, tag, n) != 0)
		n--;
	return n;
}

/* White space before a call is no content, nor is that between calls. */
static size_t without_space(const buffer *b, size_t n)
{
	while (n > 0 && strchr(" \n\r\t", b->data[n - 1]))
		n--;
	return n;
}

/* An answer that begins with a brace is held until it ends: then it is a call, or text. */
static void split_whole(tool_splitter *s, bool last, buffer *content)
{
	buffer *b = &s->held;
	const size_t space = b->used ? strspn(b->data, " \n\r\t") : 0, n = b->used - space, tag = strlen(PYTHON);
	const bool is_tagged = n && memcmp(b->data + space, PYTHON, n < tag ? n : tag) == 0;
	s->is_text = s->is_text || (n && b->data[space] != '{' && !is_tagged);
	if (!s->is_text && !last)
		return;
	const size_t at = is_tagged && n > tag ? space + tag : space;
	json_t *call = s->is_text || !b->used ? NULL : json_loadb(b->data + at, b->used - at, 0, NULL);
	if (!call || !add_call(s, call))
		buffer_add(content, b->data, b->used);
	json_decref(call);
	buffer_remove(b, b->used);
}

/* One call or an array of them. The number of bytes; 0 if they are none. */
static size_t add_list(tool_splitter *s, const char *text, size_t n)
{
	json_error_t end;
	json_t *list = json_loadb(text, n, JSON_DISABLE_EOF_CHECK, &end), *call;
	const size_t before = s->n_calls;
	size_t i;
	if (json_is_array(list))
		json_array_foreach(list, i, call) add_call(s, call);
	else if (list)
		add_call(s, list);
	json_decref(list);
	return s->n_calls > before ? (size_t)end.position : 0;
}

/* NAME[ARGS]{...}, or NAME[CALL_ID]...[ARGS]{...}. */
static size_t add_named(tool_splitter *s, const char *text, size_t n)
{
	json_error_t end;
	const char *arguments = memmem(text, n, ARGUMENTS, strlen(ARGUMENTS)), *id = NULL;
	if (!arguments)
		return 0;
	id = memmem(text, (size_t)(arguments - text), "[CALL_ID]", 9);
	const size_t begin = (size_t)(arguments - text) + strlen(ARGUMENTS),
				 name = (size_t)((id ? id : arguments) - text);
	json_t *value = json_loadb(text + begin, n - begin, JSON_DISABLE_EOF_CHECK, &end);
	json_t *call = value ? json_pack("{s:o, s:o, s:o*}", "name", json_stringn(text, name), "arguments", value, "id",
									 id ? json_stringn(id + 9, (size_t)(arguments - id) - 9) : NULL)
						 : NULL;
	const bool added = call && add_call(s, call);
	json_decref(call);
	return added ? begin + (size_t)end.position : 0;
}

/* Calls are at the end of the answer. What is none stays text. */
static void split_listed(tool_splitter *s, bool last, buffer *content)
{
	buffer *b = &s->held;
	const char *found = s->in_call || !b->used ? NULL : strstr(b->data, LIST);
	if (!s->in_call) {
		const size_t end = found  ? without_space(b, (size_t)(found - b->data))
						   : last ? b->used
								  : without_space(b, b->used - begun(b, LIST));
		buffer_add(content, b->data, end);
		buffer_remove(b, found ? (size_t)(found - b->data) : end);
		s->in_call = found != NULL;
	}
	if (!s->in_call || !last)
		return;
	while (b->used && strncmp(b->data, LIST, strlen(LIST)) == 0) {
		const size_t at = strlen(LIST) + strspn(b->data + strlen(LIST), " \n\r\t");
		const bool is_list = at < b->used && strchr("[{", b->data[at]);
		const size_t n = (is_list ? add_list : add_named)(s, b->data + at, b->used - at);
		if (!n)
			break;
		buffer_remove(b, at + n);
		buffer_remove(b, b->used ? strspn(b->data, " \n\r\t") : 0);
	}
	const size_t rest = without_space(b, b->used);
	buffer_add(content, b->data, rest);
	buffer_remove(b, b->used);
}

static void split_marked(tool_splitter *s, bool last, buffer *content)
{
	buffer *b = &s->held;
	while (b->used) {
		const char *tag = s->in_call ? CLOSING : OPENING, *found = strstr(b->data, tag);
		size_t end = found ? (size_t)(found - b->data) : b->used;
		if (!s->in_call) {
			const size_t sure = found  ? without_space(b, end)
								: last ? end
									   : without_space(b, b->used - begun(b, tag));
			if (s->n_calls == 0 || without_space(b, sure))
				buffer_add(content, b->data, sure);
			end = found ? end : sure;
		}
		if (!found) {
			if (!s->in_call)
				buffer_remove(b, end);
			break;
		}
		if (s->in_call) {
			json_t *call = json_loadb(b->data, end, 0, NULL);
			add_call(s, call);
			json_decref(call);
		}
		s->in_call = !s->in_call;
		buffer_remove(b, end + strlen(tag));
	}
	if (last && s->in_call && b->used) { /* cut by a limit: it is no call */
		buffer_text(content, OPENING);
		buffer_add(content, b->data, b->used);
		buffer_remove(b, b->used);
	}
}

void tools_split(tool_splitter *s, const char *text, bool last, buffer *content)
{
	buffer_text(&s->held, text);
	if (s->style == EVN_TOOLS_LLAMA)
		split_whole(s, last, content);
	else if (s->style == EVN_TOOLS_MISTRAL || s->style == EVN_TOOLS_MISTRAL_ARGS)
		split_listed(s, last, content);
	else
		split_marked(s, last, content);
}

json_t *tools_take(tool_splitter *s)
{
	json_t *calls = s->calls;
	s->calls = NULL;
	return calls;
}

void tools_free(tool_splitter *s)
{
	buffer_free(&s->held);
	json_decref(s->calls);
	*s = (tool_splitter){0};
}
