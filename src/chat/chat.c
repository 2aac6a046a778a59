/* chat.c - from messages to ids: the template of the model, its variables, and the tokens of what it writes. */
#include "evener/chat.h"
#include "chat/messages.h"
#include "chat/template.h"
#include "model/model.h"

#include <stdlib.h>
#include <string.h>

/* ChatML, which most models of no known family understand best. */
static const char chatml[] = "{% for message in messages %}"
							 "{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
							 "{% endfor %}"
							 "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/* Everything that the template gets. */
typedef struct {
	const evn_model *model;
	const evn_tokenizer *tokenizer;
	evn_template template;
	json_t *variables, *own;
	char *name;
} conversation;

static void clear(conversation *c)
{
	json_decref(c->variables);
	json_decref(c->own);
	free(c->name);
}

static evn_status set(json_t *object, const char *key, json_t *value, evn_error *err)
{
	return json_object_set_new(object, key, value) == 0 ? EVN_OK : evn_fail_memory(err, "chat template", 0);
}

/* The text of a special token as a variable, if the vocabulary has it. */
static evn_status set_token(conversation *c, const char *key, int32_t id, evn_error *err)
{
	if (id < 0)
		return EVN_OK;
	char *text = malloc(evn_tokenizer_max_bytes(c->tokenizer) + 1);
	if (!text)
		return evn_fail_memory(err, "chat template", 0);
	size_t n = evn_tokenizer_spell(c->tokenizer, id, true, text);
	json_t *value = json_stringn(text, n);
	free(text);
	return value ? set(c->own, key, value, err) : EVN_OK; /* not UTF-8: no template can use it */
}

static evn_status find_template(conversation *c, const evn_chat_options *o, evn_error *err)
{
	const evn_gguf *g = evn_model_gguf(c->model);
	evn_str own = {NULL, 0}, for_tools = {NULL, 0};
	c->name = evn_format("%s: chat template", o->template_text ? "given" : evn_gguf_name(g));
	c->template.name = c->name;
	if (!c->name)
		return evn_fail_memory(err, "chat template", 0);
	if (!o->template_text) {
		EVN_TRY(evn_gguf_string(g, "tokenizer.chat_template", &own, err));
		if (o->tools_json)
			EVN_TRY(evn_gguf_string(g, "tokenizer.chat_template.tool_use", &for_tools, err));
		own = for_tools.text ? for_tools : own;
	}
	if (!o->template_text && !own.text)
		evn_log(EVN_LOG_WARN, "%s has no chat template, so it may not be made for chat; ChatML is used",
				evn_gguf_name(g));
	c->template.text = o->template_text ? o->template_text : own.text ? own.text : chatml;
	c->template.n = o->template_text || !own.text ? strlen(c->template.text) : (size_t)own.length;
	return EVN_OK;
}

static bool mentions(const conversation *c, const char *word)
{
	return memmem(c->template.text, c->template.n, word, strlen(word)) != NULL;
}

/* What the templates of a family have, the most telling first. */
static const struct {
	evn_tool_style style;
	const char *has[2];
} families[] = {{EVN_TOOLS_HERMES, {"<tool_call>", ""}},
				{EVN_TOOLS_MISTRAL_ARGS, {"[TOOL_CALLS]", "[ARGS]"}},
				{EVN_TOOLS_MISTRAL, {"[TOOL_CALLS]", ""}},
				{EVN_TOOLS_HARMONY, {"<|channel|>commentary", "functions."}},
				{EVN_TOOLS_LLAMA, {"{\"name\": \"", "\"parameters\": "}}};

static evn_tool_style family_of(const conversation *c)
{
	for (size_t i = 0; i < sizeof families / sizeof *families; i++)
		if (mentions(c, families[i].has[0]) && mentions(c, families[i].has[1]))
			return families[i].style;
	return EVN_TOOLS_OTHER;
}

evn_tool_style evn_chat_tool_style(const evn_model *m, const evn_chat_options *o)
{
	evn_chat_options with_tools = o ? *o : (evn_chat_options){0};
	conversation c = {.model = m};
	evn_tool_style style = EVN_TOOLS_UNKNOWN;
	with_tools.tools_json = "[]";
	if (find_template(&c, &with_tools, NULL) == EVN_OK && mentions(&c, "tools"))
		style = family_of(&c);
	clear(&c);
	return style;
}

static evn_status read_tools(json_t **out, const evn_chat_options *o, evn_error *err)
{
	*out = json_null();
	if (!o->tools_json)
		return EVN_OK;
	EVN_TRY(evn_json_read(out, "tools", o->tools_json, JSON_ARRAY, err));
	if (json_array_size(*out) > 0)
		return EVN_OK;
	json_decref(*out);
	*out = json_null();
	return EVN_OK;
}

/* As transformers has them: what is not given is none, not undefined. The caller's variables come last. */
static evn_status fill_variables(conversation *c, const evn_chat_options *o, evn_error *err)
{
	json_t *tools, *more = NULL;
	EVN_TRY(set(c->variables, "add_generation_prompt", json_boolean(!o->no_generation_prompt), err));
	EVN_TRY(set(c->variables, "documents", json_null(), err));
	EVN_TRY(read_tools(&tools, o, err));
	EVN_TRY(set(c->variables, "tools", tools, err));
	if (!o->variables_json)
		return EVN_OK;
	EVN_TRY(evn_json_read(&more, "variables", o->variables_json, JSON_OBJECT, err));
	int failed = json_object_update(c->variables, more);
	json_decref(more);
	return failed ? evn_fail_memory(err, "chat template", 0) : EVN_OK;
}

static evn_status prepare(conversation *c, const evn_chat_options *o, evn_error *err)
{
	time_t now = time(NULL);
	c->tokenizer = evn_model_tokenizer(c->model, err);
	if (!c->tokenizer)
		return err ? err->code : EVN_ERR_FORMAT;
	c->variables = json_object();
	c->own = json_object();
	if (!c->variables || !c->own)
		return evn_fail_memory(err, "chat template", 0);
	c->template.variables = c->variables;
	c->template.own = c->own;
	localtime_r(&now, &c->template.now);
	EVN_TRY(find_template(c, o, err));
	EVN_TRY(set_token(c, "bos_token", evn_tokenizer_bos(c->tokenizer), err));
	EVN_TRY(set_token(c, "eos_token", evn_tokenizer_eos(c->tokenizer), err));
	return fill_variables(c, o, err);
}

static evn_status render_messages(conversation *c, const char *messages_json, bool keep_arguments, size_t *n_parsed,
								  evn_rendered *out, evn_error *err)
{
	json_t *messages;
	EVN_TRY(evn_messages_read(&messages, messages_json, keep_arguments, n_parsed, err));
	EVN_TRY(set(c->variables, "messages", messages, err));
	return evn_template_render(out, &c->template, err);
}

/* Most templates want the arguments of tool calls as objects, some as the text of the API. What a template wants
 * shows when the first form fails. */
static evn_status render(conversation *c, const char *messages_json, evn_rendered *out, evn_error *err)
{
	size_t n_parsed;
	evn_status status = render_messages(c, messages_json, false, &n_parsed, out, err);
	if (status != EVN_ERR_FORMAT || n_parsed == 0)
		return status;
	return render_messages(c, messages_json, true, &n_parsed, out, NULL) == EVN_OK ? EVN_OK : status;
}

bool evn_chat_opens_reasoning(const char *text)
{
	static const char tag[] = "<think>";
	size_t n = strlen(text);
	while (n > 0 && (text[n - 1] == ' ' || (text[n - 1] >= '\t' && text[n - 1] <= '\r')))
		n--;
	return n >= strlen(tag) && memcmp(text + n - strlen(tag), tag, strlen(tag)) == 0;
}

evn_status evn_chat_prompt(const evn_model *m, const char *messages_json, const evn_chat_options *o, int32_t **ids,
						   size_t *n_ids, char **text, evn_error *err)
{
	static const evn_chat_options none = {0};
	evn_error own = {0};
	conversation c = {.model = m};
	evn_rendered rendered = {0};
	*ids = NULL;
	*n_ids = 0;
	if (text)
		*text = NULL;
	err = err ? err : &own;
	evn_status status = prepare(&c, o ? o : &none, err);
	if (status == EVN_OK)
		status = render(&c, messages_json, &rendered, err);
	if (status == EVN_OK)
		status = evn_tokenizer_encode_chat(c.tokenizer, rendered.text, rendered.foreign, rendered.n, ids, n_ids, err);
	if (status == EVN_OK && text) {
		*text = rendered.text;
		rendered.text = NULL;
	}
	evn_rendered_free(&rendered);
	clear(&c);
	return status;
}
