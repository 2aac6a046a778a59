/* tools.c - see tools.h: one or more calls, each an object with the name and the arguments of a function, between the
 * marks of a form. */
#include "grammar/tools.h"

#include <string.h>

#include "grammar/dfa.h"
#include "grammar/regex.h"
#include "grammar/schema.h"

/* How a family of models writes calls. */
typedef struct {
	const char *name, *opening, *closing;
	const char *arguments; /* the key */
	bool parallel;         /* can write several */
	const char *text;      /* what a text without calls is; NULL: one without the opening, and calls may follow it */
} form;
static const form forms[] = {
	{"hermes", "<tool_call>", "</tool_call>", "arguments", true, NULL},
	{"llama", "", "", "parameters", false, "([ \\n]*[^ \\n{][\\s\\S]*)?"},
};

static const form *find_form(json_t *name)
{
	for (size_t i = 0; json_is_string(name) && i < sizeof forms / sizeof *forms; i++)
		if (strcmp(json_string_value(name), forms[i].name) == 0)
			return &forms[i];
	return name ? NULL : forms;
}

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

static evn_status add_tool(evn_net *n, const form *f, json_t *tool, uint32_t from, uint32_t to, evn_error *err)
{
	json_t *name = json_object_get(tool, "name"), *parameters = json_object_get(tool, "parameters");
	evn_error why = {0};
	uint32_t end = 0;
	if (!json_is_string(name))
		return evn_fail(err, EVN_ERR_USAGE, "tools: expected a name for each of them");
	json_t *any = json_pack("{s:s}", "type", "object");
	if (!parameters || json_is_null(parameters))
		parameters = any;
	if (!can_follow(parameters, &why)) {
		if (json_is_true(json_object_get(tool, "strict"))) {
			json_decref(any);
			return evn_fail(err, why.code, "tool '%.64s': %s", json_string_value(name), why.text);
		}
		parameters = any;
	}
	json_t *call = json_pack("{s:s, s:{s:{s:O}, s:O}, s:[s, s]}", "type", "object", "properties", "name", "const",
							 name, f->arguments, parameters, "required", "name", f->arguments);
	const evn_status status =
		call ? evn_schema_add_to(n, call, parameters, from, &end, err) : evn_fail_memory(err, "tools", 0);
	json_decref(call);
	json_decref(any);
	evn_net_empty(n, end, to);
	return status;
}

static evn_status add_space(evn_net *n, uint32_t from, uint32_t *to, evn_error *err)
{
	return evn_regex_add(n, from, "[ \\n]{0,4}", 10, false, to, err);
}

/* Text without the mark that opens a call. */
static evn_status add_free(evn_net *n, const char *opening, uint32_t from, uint32_t *to, evn_error *err)
{
	evn_dfa all = {0}, with_tag = {0};
	evn_status status = evn_dfa_of_regex(&all, "", 0, true, err);
	if (status == EVN_OK)
		status = evn_dfa_of_regex(&with_tag, opening, strlen(opening), true, err);
	if (status == EVN_OK)
		status = evn_dfa_join(&all, &with_tag, true, err);
	if (status == EVN_OK)
		*to = evn_dfa_add(&all, n, from);
	evn_dfa_free(&all);
	evn_dfa_free(&with_tag);
	return status;
}

static evn_status add_calls(evn_net *n, const form *f, json_t *root, uint32_t from, uint32_t *to, evn_error *err)
{
	const uint32_t first = evn_net_state(n), called = evn_net_state(n);
	json_t *tools = json_object_get(root, "tools");
	uint32_t at;
	evn_net_empty(n, from, first);
	EVN_TRY(add_space(n, evn_net_text(n, first, f->opening, strlen(f->opening)), &at, err));
	for (size_t i = 0; i < json_array_size(tools); i++)
		EVN_TRY(add_tool(n, f, json_array_get(tools, i), at, called, err));
	EVN_TRY(add_space(n, called, &at, err));
	*to = evn_net_text(n, at, f->closing, strlen(f->closing));
	if (f->parallel && json_is_true(json_object_get(root, "parallel"))) {
		EVN_TRY(add_space(n, *to, &at, err));
		evn_net_empty(n, at, first);
	}
	return EVN_OK;
}

static evn_status read_tools(evn_net *n, json_t *root, evn_error *err)
{
	const form *f = find_form(json_object_get(root, "form"));
	json_t *tools = json_object_get(root, "tools");
	uint32_t at, to = 0;
	n->root = evn_net_rule(n);
	if (!json_array_size(tools) || json_array_size(tools) > EVN_TOOLS_MOST)
		return evn_fail(err, EVN_ERR_USAGE, "tools: expected 1 to %d, found %zu", EVN_TOOLS_MOST,
						json_array_size(tools));
	if (!f)
		return evn_fail(err, EVN_ERR_USAGE, "tools: expected the form hermes or llama");
	if (n->status != EVN_OK)
		return evn_fail_memory(err, "tools", 0);
	const evn_rule rule = n->rules[n->root];
	at = rule.start;
	if (json_is_true(json_object_get(root, "free"))) {
		if (f->text)
			EVN_TRY(evn_regex_add(n, at, f->text, strlen(f->text), false, &to, err));
		else
			EVN_TRY(add_free(n, f->opening, at, &to, err));
		evn_net_empty(n, to, rule.end);
		at = f->text ? at : to;
	}
	EVN_TRY(add_calls(n, f, root, at, &to, err));
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
