/* tools.c - see tools.h: one or more calls, in the form of a family of models. Marks are control tokens or plain
 * text. */
#include "grammar/tools.h"

#include <string.h>

#include "grammar/dfa.h"
#include "grammar/regex.h"
#include "grammar/schema.h"

typedef struct form form;

/* How a family of models writes calls. */
struct form {
	const char *name;
	/* Adds all that an answer may be. */
	evn_status (*add)(evn_net *n, const form *f, json_t *root, uint32_t from, uint32_t *to, evn_error *err);
	const char *opening, *closing; /* marks of a call */
	const char *arguments;         /* the key */
	const char *without;           /* texts that other text does not have, as an expression */
};

/* A schema that cannot be followed must not stay half built in the network, so it is tried on another one. */
static bool can_follow(json_t *parameters, evn_error *err)
{
	evn_net trial = {0};
	uint32_t to = 0;
	trial.root = evn_net_rule(&trial);
	bool ok = trial.status == EVN_OK &&
			  evn_schema_add_to(&trial, parameters, parameters, trial.rules[0].start, &to, err) == EVN_OK;
	if (ok && trial.status == EVN_OK)
		evn_net_empty(&trial, to, trial.rules[0].end);
	ok = ok && evn_net_finish(&trial, NULL, NULL, err) == EVN_OK;
	evn_net_free(&trial);
	return ok;
}

/* The schema of the arguments: any object where evener cannot follow the tool's own. The caller owns it. */
static evn_status parameters_of(json_t *tool, json_t **out, evn_error *err)
{
	json_t *name = json_object_get(tool, "name"), *own = json_object_get(tool, "parameters");
	evn_error why = {0};
	*out = NULL;
	if (!json_is_string(name))
		return evn_fail(err, EVN_ERR_USAGE, "tools: expected a name for each of them");
	const bool has = own && !json_is_null(own), follows = has && can_follow(own, &why);
	if (has && !follows && json_is_true(json_object_get(tool, "strict")))
		return evn_fail(err, why.code, "tool '%.64s': %s", json_string_value(name), why.text);
	*out = follows ? json_incref(own) : json_pack("{s:s}", "type", "object");
	return *out ? EVN_OK : evn_fail_memory(err, "tools", 0);
}

/* An object with the name and the arguments. An id may follow, of Mistral's nine characters. */
static evn_status add_object(evn_net *n, const form *f, json_t *tool, uint32_t from, uint32_t to, evn_error *err)
{
	json_t *name = json_object_get(tool, "name"), *parameters;
	uint32_t end = 0;
	EVN_TRY(parameters_of(tool, &parameters, err));
	json_t *call = json_pack("{s:s, s:{s:{s:O}, s:O}, s:[s, s]}", "type", "object", "properties", "name", "const",
							 name, f->arguments, parameters, "required", "name", f->arguments);
	if (call && !f->closing)
		json_object_set_new(json_object_get(call, "properties"), "id",
							json_pack("{s:s, s:s}", "type", "string", "pattern", "^[a-zA-Z0-9]{9}$"));
	const evn_status status =
		call ? evn_schema_add_to(n, call, parameters, from, &end, err) : evn_fail_memory(err, "tools", 0);
	json_decref(call);
	json_decref(parameters);
	evn_net_empty(n, end, to);
	return status;
}

/* The arguments alone. */
static evn_status add_arguments(evn_net *n, json_t *tool, uint32_t from, uint32_t to, evn_error *err)
{
	json_t *parameters;
	uint32_t end = 0;
	EVN_TRY(parameters_of(tool, &parameters, err));
	const evn_status status = evn_schema_add_to(n, parameters, parameters, from, &end, err);
	json_decref(parameters);
	evn_net_empty(n, end, to);
	return status;
}

static uint32_t add_name(evn_net *n, json_t *tool, uint32_t from)
{
	const char *name = json_string_value(json_object_get(tool, "name"));
	return evn_net_text(n, from, name ? name : "", name ? strlen(name) : 0);
}

static evn_status add_space(evn_net *n, uint32_t from, uint32_t *to, evn_error *err)
{
	return evn_regex_add(n, from, "[ \\n]{0,4}", 10, false, to, err);
}

/* Text without what the form forbids. */
static evn_status add_free(evn_net *n, const form *f, uint32_t from, uint32_t *to, evn_error *err)
{
	evn_dfa all = {0}, with_tag = {0};
	evn_status status = evn_dfa_of_regex(&all, "", 0, true, err);
	if (status == EVN_OK)
		status = evn_dfa_of_regex(&with_tag, f->without, strlen(f->without), true, err);
	if (status == EVN_OK)
		status = evn_dfa_join(&all, &with_tag, true, err);
	if (status == EVN_OK)
		*to = evn_dfa_add(&all, n, from);
	evn_dfa_free(&all);
	evn_dfa_free(&with_tag);
	return status;
}

static bool asks(json_t *root, const char *what) { return json_is_true(json_object_get(root, what)); }

/* ---- forms ----------------------------------------------------------------------------------------------------- */

/* Where calls begin: behind a text, if there may be one, which may also be all. */
static evn_status add_text_before(evn_net *n, const form *f, json_t *root, uint32_t *from, uint32_t end,
								  evn_error *err)
{
	uint32_t to = 0;
	if (!asks(root, "free"))
		return EVN_OK;
	EVN_TRY(add_free(n, f, *from, &to, err));
	evn_net_empty(n, to, end);
	*from = to;
	return EVN_OK;
}

static evn_status add_marked(evn_net *n, const form *f, json_t *root, uint32_t from, uint32_t *to, evn_error *err)
{
	const uint32_t first = evn_net_state(n), called = evn_net_state(n);
	json_t *tools = json_object_get(root, "tools");
	uint32_t at;
	*to = evn_net_state(n);
	EVN_TRY(add_text_before(n, f, root, &from, *to, err));
	evn_net_empty(n, from, first);
	EVN_TRY(add_space(n, evn_net_mark(n, first, f->opening), &at, err));
	for (size_t i = 0; i < json_array_size(tools); i++)
		EVN_TRY(add_object(n, f, json_array_get(tools, i), at, called, err));
	EVN_TRY(add_space(n, called, &at, err));
	const uint32_t closed = evn_net_mark(n, at, f->closing);
	evn_net_empty(n, closed, *to);
	if (asks(root, "parallel")) {
		EVN_TRY(add_space(n, closed, &at, err));
		evn_net_empty(n, at, first);
	}
	return EVN_OK;
}

/* One call, maybe behind a mark, or a text that does not begin like one. */
static evn_status add_whole(evn_net *n, const form *f, json_t *root, uint32_t from, uint32_t *to, evn_error *err)
{
	static const char text[] = "([ \\n]*[^ \\n{][\\s\\S]*)?";
	json_t *tools = json_object_get(root, "tools");
	const uint32_t called = evn_net_state(n), first = evn_net_state(n);
	uint32_t at, said = 0;
	*to = evn_net_state(n);
	if (asks(root, "free")) {
		EVN_TRY(evn_regex_add(n, from, text, strlen(text), false, &said, err));
		evn_net_empty(n, said, *to);
	}
	EVN_TRY(add_space(n, from, &at, err));
	evn_net_empty(n, at, first);
	evn_net_empty(n, evn_net_mark(n, at, f->opening), first);
	for (size_t i = 0; i < json_array_size(tools); i++)
		EVN_TRY(add_object(n, f, json_array_get(tools, i), first, called, err));
	EVN_TRY(add_space(n, called, &at, err));
	evn_net_empty(n, at, *to);
	return EVN_OK;
}

/* Behind one mark an array of calls. */
static evn_status add_list(evn_net *n, const form *f, json_t *root, uint32_t from, uint32_t *to, evn_error *err)
{
	const uint32_t first = evn_net_state(n), called = evn_net_state(n);
	json_t *tools = json_object_get(root, "tools");
	uint32_t at;
	*to = evn_net_state(n);
	EVN_TRY(add_text_before(n, f, root, &from, *to, err));
	EVN_TRY(add_space(n, evn_net_mark(n, from, f->opening), &at, err));
	evn_net_empty(n, evn_net_text(n, at, "[", 1), first);
	for (size_t i = 0; i < json_array_size(tools); i++)
		EVN_TRY(add_object(n, f, json_array_get(tools, i), first, called, err));
	evn_net_empty(n, evn_net_text(n, called, "]", 1), *to);
	if (asks(root, "parallel")) {
		EVN_TRY(add_space(n, evn_net_text(n, called, ",", 1), &at, err));
		evn_net_empty(n, at, first);
	}
	return EVN_OK;
}

/* [TOOL_CALLS]NAME[ARGS]{...}, with [CALL_ID] and an id before the arguments or without. */
static evn_status add_named(evn_net *n, const form *f, json_t *root, uint32_t from, uint32_t *to, evn_error *err)
{
	static const char id[] = "[a-zA-Z0-9]{9}";
	const uint32_t first = evn_net_state(n), called = evn_net_state(n);
	json_t *tools = json_object_get(root, "tools"), *tool;
	size_t i;
	*to = evn_net_state(n);
	EVN_TRY(add_text_before(n, f, root, &from, *to, err));
	evn_net_empty(n, from, first);
	const uint32_t opened = evn_net_mark(n, first, f->opening);
	json_array_foreach(tools, i, tool)
	{
		const uint32_t named = add_name(n, tool, opened), before = evn_net_state(n);
		uint32_t at = 0;
		evn_net_empty(n, named, before);
		EVN_TRY(evn_regex_add(n, evn_net_mark(n, named, "[CALL_ID]"), id, strlen(id), false, &at, err));
		evn_net_empty(n, at, before);
		EVN_TRY(add_arguments(n, tool, evn_net_mark(n, before, f->closing), called, err));
	}
	evn_net_empty(n, called, *to);
	if (asks(root, "parallel"))
		evn_net_empty(n, called, first);
	return EVN_OK;
}

static uint32_t add_header(evn_net *n, uint32_t from, const char *channel)
{
	const uint32_t at = evn_net_mark(n, from, "<|channel|>");
	return evn_net_mark(n, evn_net_text(n, at, channel, strlen(channel)), "<|message|>");
}

/* A message of a channel, and the beginning of the next. */
static evn_status add_message(evn_net *n, const form *f, const char *channel, uint32_t from, uint32_t to,
							  evn_error *err)
{
	uint32_t at = 0;
	EVN_TRY(add_free(n, f, add_header(n, from, channel), &at, err));
	at = evn_net_mark(n, evn_net_mark(n, at, "<|end|>"), "<|start|>");
	evn_net_empty(n, evn_net_text(n, at, "assistant", 9), to);
	return EVN_OK;
}

/* Between the recipient or the channel and the arguments. */
static uint32_t add_type(evn_net *n, uint32_t from)
{
	const uint32_t to = evn_net_state(n), space = evn_net_text(n, from, " ", 1), type = evn_net_state(n);
	evn_net_empty(n, from, to);
	evn_net_empty(n, space, type);
	evn_net_empty(n, evn_net_mark(n, space, "<|constrain|>"), type);
	evn_net_empty(n, evn_net_text(n, type, "json", 4), to);
	return evn_net_mark(n, to, "<|message|>");
}

/* Analysis, then one call or, where it may be, the final text. */
static evn_status add_channels(evn_net *n, const form *f, json_t *root, uint32_t from, uint32_t *to, evn_error *err)
{
	static const char to_function[] = " to=functions.", commentary[] = "commentary";
	const uint32_t first = evn_net_state(n);
	json_t *tools = json_object_get(root, "tools"), *tool;
	uint32_t at = 0;
	size_t i;
	*to = evn_net_state(n);
	evn_net_empty(n, from, first);
	EVN_TRY(add_message(n, f, "analysis", first, first, err));
	if (asks(root, "free")) {
		EVN_TRY(add_message(n, f, commentary, first, first, err));
		EVN_TRY(add_free(n, f, add_header(n, first, "final"), &at, err));
		evn_net_empty(n, at, *to);
	}
	const uint32_t channel = evn_net_mark(n, first, f->opening);
	const uint32_t behind =
		evn_net_text(n, evn_net_text(n, channel, commentary, strlen(commentary)), to_function, strlen(to_function));
	const uint32_t before = evn_net_text(n, first, to_function, strlen(to_function));
	json_array_foreach(tools, i, tool)
	{
		EVN_TRY(add_arguments(n, tool, add_type(n, add_name(n, tool, behind)), *to, err));
		at = evn_net_mark(n, add_name(n, tool, before), f->opening);
		EVN_TRY(add_arguments(n, tool, add_type(n, evn_net_text(n, at, commentary, strlen(commentary))), *to, err));
	}
	return EVN_OK;
}

static const form forms[] = {
	{"hermes", add_marked, "<tool_call>", "</tool_call>", "arguments", "<tool_call>"},
	{"llama", add_whole, "<|python_tag|>", "", "parameters", ""},
	{"mistral", add_list, "[TOOL_CALLS]", NULL, "arguments", "\\[TOOL_CALLS\\]"},
	{"mistral-args", add_named, "[TOOL_CALLS]", "[ARGS]", NULL, "\\[TOOL_CALLS\\]"},
	{"harmony", add_channels, "<|channel|>", NULL, NULL, "<\\|(start|channel|message|constrain|end|call|return)\\|>"},
};

static const form *find_form(json_t *name)
{
	for (size_t i = 0; json_is_string(name) && i < sizeof forms / sizeof *forms; i++)
		if (strcmp(json_string_value(name), forms[i].name) == 0)
			return &forms[i];
	return name ? NULL : forms;
}

static evn_status read_tools(evn_net *n, json_t *root, evn_error *err)
{
	const form *f = find_form(json_object_get(root, "form"));
	json_t *tools = json_object_get(root, "tools");
	uint32_t to = 0;
	n->root = evn_net_rule(n);
	if (!json_array_size(tools) || json_array_size(tools) > EVN_TOOLS_MOST)
		return evn_fail(err, EVN_ERR_USAGE, "tools: expected 1 to %d, found %zu", EVN_TOOLS_MOST,
						json_array_size(tools));
	if (!f)
		return evn_fail(err, EVN_ERR_USAGE,
						"tools: expected the form hermes, llama, mistral, mistral-args or harmony");
	if (n->status != EVN_OK)
		return evn_fail_memory(err, "tools", 0);
	const evn_rule rule = n->rules[n->root];
	EVN_TRY(f->add(n, f, root, rule.start, &to, err));
	evn_net_empty(n, to, rule.end);
	return evn_net_finish(n, NULL, NULL, err);
}

evn_status evn_tools_read(evn_net *n, const char *text, size_t length, evn_error *err)
{
	json_t *root = json_loadb(text, length, 0, NULL);
	const evn_status status = root ? read_tools(n, root, err) : evn_fail(err, EVN_ERR_USAGE, "tools: expected JSON");
	json_decref(root);
	return status;
}
